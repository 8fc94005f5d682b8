"""`build.json`: what a built bundle was made from, so that a stale one is refused instead of half working."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from backprop_core.errors import DependencyError
from backprop_core.files import read_json, write_json
from backprop_core.version import __version__

PACKAGE_DIR: Final = Path(__file__).resolve().parent.parent
WEB_DIR: Final = PACKAGE_DIR / "_web"
UI_DIR: Final = PACKAGE_DIR / "_ui"
MANIFEST: Final = WEB_DIR / "build.json"
_SOURCES: Final = (
    "rxconfig.py",
    "reflex.lock/*",
    "assets/**/*",
    "backprop_app/**/*.py",
    "backprop_app/**/*.jsx",
)
_GENERATED: Final = frozenset({"_web", "_ui", "__pycache__", "external"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The versions and hashes of a bundle.

    Attributes:
        version: of Backpropagate.
        reflex: version of Reflex.
        state_schema: Reflex's hash of every state name, var type and handler.
        source: hash of the files the bundle was compiled from.
    """

    version: str
    reflex: str
    state_schema: str
    source: str


def source_hash(root: Path) -> str:
    """Return the hash of everything that the bundle is compiled from; line endings of text do not count.

    Args:
        root: folder of the checkout.
    """
    digest = hashlib.sha256()
    files = {path for pattern in _SOURCES for path in root.glob(pattern) if path.is_file()}
    for path in sorted(files, key=lambda item: item.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if _GENERATED.isdisjoint(relative.parts):
            digest.update(relative.as_posix().encode() + b"\0")
            digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def write(manifest: Manifest, path: Path) -> None:
    """Store `manifest` beside the bundle."""
    write_json(path, asdict(manifest), durable=False)


def read(path: Path = MANIFEST) -> Manifest:
    """Return the manifest of the built bundle.

    Raises:
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, the bundle is missing or its manifest is damaged.
    """
    try:
        value: dict[str, Any] = read_json(path)
        return Manifest(**{key: str(value[key]) for key in Manifest.__slots__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DependencyError(
            "RUNTIME_UI_BUNDLE_INVALID", f"The built web app is missing or damaged: {path} cannot be read."
        ) from error


def require_match(built: Manifest, state_schema: str) -> None:
    """Check that the bundle belongs to the running code.

    Raises:
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, naming what differs.
    """
    ours = {"version": __version__, "reflex": metadata.version("reflex"), "state_schema": state_schema}
    for name, value in ours.items():
        theirs: str = getattr(built, name)
        if theirs != value:
            raise DependencyError(
                "RUNTIME_UI_BUNDLE_INVALID",
                f"The built web app does not belong to this version: its {name} is {theirs[:16]}, "
                f"here it is {value[:16]}.",
            )

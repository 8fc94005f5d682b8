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
_SOURCES: Final = ("**/*.py", "**/*.jsx")
_GENERATED: Final = frozenset({"_web", "_ui", "__pycache__"})


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


def source_hash(package_dir: Path = PACKAGE_DIR) -> str:
    """Return the hash of the app's Python and JSX sources; line endings do not count."""
    digest = hashlib.sha256()
    files = {path for pattern in _SOURCES for path in package_dir.glob(pattern)}
    for path in sorted(files, key=lambda item: item.relative_to(package_dir).as_posix()):
        relative = path.relative_to(package_dir)
        if _GENERATED.isdisjoint(relative.parts):
            digest.update(relative.as_posix().encode() + b"\0")
            digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def current(state_schema: str) -> Manifest:
    """Return the manifest that a bundle built now would carry."""
    return Manifest(
        version=__version__,
        reflex=metadata.version("reflex"),
        state_schema=state_schema,
        source=source_hash(),
    )


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


def require_match(built: Manifest, running: Manifest) -> None:
    """Check that the bundle belongs to the running code.

    The sources are compared only through the state schema here: an edit that leaves every name and type
    alone cannot break a page that is already compiled.

    Raises:
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, naming what differs.
    """
    for name in ("version", "reflex", "state_schema"):
        theirs, ours = getattr(built, name), getattr(running, name)
        if theirs != ours:
            raise DependencyError(
                "RUNTIME_UI_BUNDLE_INVALID",
                f"The built web app does not belong to this version: its {name} is {theirs[:16]}, not {ours[:16]}.",
            )

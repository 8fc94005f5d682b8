"""Finds a Chromium for the browser tests, or installs one; `python -m tests.support.browser` prints its path.

In this order: one on the machine, Playwright's own, Playwright's own after its installer ran, the package
of the distribution. There is no way to go on without one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
_TIMEOUT_S = 600


def find() -> Path | None:
    """Return a Chromium that is here already."""
    named = os.environ.get("CHROMIUM")
    found = [named] if named else [shutil.which(name) for name in NAMES]
    for path in filter(None, found):
        if _starts(Path(path)):
            return Path(path)
    own = _playwrights_own()
    return own if own is not None and _starts(own) else None


def require() -> Path:
    """Return a Chromium, installed now when there is none.

    Raises:
        RuntimeError: none could be found or installed.
    """
    found = find()
    if found is not None:
        return found
    tried = [_run([sys.executable, "-m", "playwright", "install", "chromium"])]
    if (found := find()) is not None:
        return found
    if shutil.which("apt-get") is not None:
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        tried.append(_run([*prefix, "apt-get", "update", "-qq"]))
        tried.append(_run([*prefix, "apt-get", "install", "-y", "-qq", "chromium"]))
        if (found := find()) is not None:
            return found
    raise RuntimeError("The browser tests need a Chromium and none could be installed:\n" + "\n".join(tried))


def _playwrights_own() -> Path | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return path if path.is_file() else None


def _starts(path: Path) -> bool:
    """Tell whether the program runs at all: an installed one may lack its libraries."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(command)}: {error}"
    return f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}"


if __name__ == "__main__":
    sys.stdout.write(f"{require()}\n")

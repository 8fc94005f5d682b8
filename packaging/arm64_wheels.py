"""Prints which pins have no wheel for Linux on arm64, so that the image for it would need a compiler.

`python packaging/arm64_wheels.py > packaging/arm64-wheels.txt` asks pip to resolve every pin of
`constraints.txt` for that platform; nothing is installed. Exit 1 when a pin of the image has no wheel.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
# glibc 2.36 of Debian 12, which the image stands on, and everything older.
PLATFORMS = [*(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)), "manylinux2014_aarch64"]
_MISSING = re.compile(r"No matching distribution found for ([A-Za-z0-9_.-]+)==")


def pins() -> list[str]:
    """Return the lines of the constraints that are pins."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if "==" in line and not line.startswith("#")]


def ask(requirements: list[str]) -> tuple[dict[str, str], str]:
    """Return the file that each pin resolves to, or the name of the first pin without one."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--ignore-installed", "--python-version", PYTHON]
        command += ["--implementation", "cp", "--target", folder, "--report", str(report)]
        command += [part for name in PLATFORMS for part in ("--platform", name)]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found = json.loads(report.read_text())["install"]
            return {
                f"{item['metadata']['name']}=={item['metadata']['version']}": item["download_info"][
                    "url"
                ].rpartition("/")[2]
                for item in found
            }, ""
    match = _MISSING.search(done.stderr)
    if match is None:
        raise SystemExit(done.stderr[-2000:])
    return {}, match[1]


def main() -> int:
    """Print one line per pin and return the exit code."""
    wanted, without = pins(), []
    while True:
        files, missing = ask(wanted)
        if not missing:
            break
        without += [pin for pin in wanted if pin.startswith(f"{missing}==")]
        wanted = [pin for pin in wanted if not pin.startswith(f"{missing}==")]
    print(
        f"# Wheels for Linux arm64, CPython {PYTHON}; asked on {date.today()} with pip on {platform.system()}"
    )
    for pin, file in sorted(files.items(), key=lambda item: item[0].lower()):
        print(f"{'any  ' if file.endswith('-any.whl') else 'arm64'}  {pin}  {file}")
    for pin in without:
        print(f"NONE   {pin}")
    print(f"# {len(files)} pins have a wheel, {len(without)} have none")
    return 1 if without else 0


if __name__ == "__main__":
    sys.exit(main())

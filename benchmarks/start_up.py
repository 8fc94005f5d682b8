"""How long it takes to import the package and to see the help. `python -m benchmarks.start_up`"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.report import Figure, machine, median_s, show


def measure() -> list[Figure]:
    """Return the figures, each the median of seven fresh processes."""
    bare = _seconds("pass")
    imported = _seconds("import backpropagate")
    code = "import backpropagate, sys; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'reflex')))"
    subprocess.run([sys.executable, "-c", code], check=True)
    command = [sys.executable, "-m", "backpropagate", "--help"]
    shown = median_s(lambda: subprocess.run(command, check=True, capture_output=True), 7)
    return [
        Figure("import backpropagate, above a bare interpreter", imported - bare, "s", 0.15),
        Figure("backprop --help", shown, "s", 1.0),
    ]


def _seconds(code: str) -> float:
    return median_s(lambda: subprocess.run([sys.executable, "-c", code], check=True), 7)


if __name__ == "__main__":
    print(machine())
    show("Start-up", measure())

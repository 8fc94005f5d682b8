"""Prints every figure that this machine can measure in a few minutes: `python -m benchmarks`."""

from __future__ import annotations

from benchmarks import data, gate, journal, page, sandbox, start_up, unattended
from benchmarks.report import machine, show


def main() -> None:
    """Measure and print."""
    print(machine())
    show("Start-up", start_up.measure())
    show("Journal", journal.measure())
    show("Page", page.measure())
    show("Unattended", unattended.measure())
    show("Data", data.measure())
    show("Gate and login", gate.measure())
    show("Sandbox", sandbox.measure())


if __name__ == "__main__":
    main()

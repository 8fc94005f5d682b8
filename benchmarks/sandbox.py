"""The sandbox under attack and on the clock: links swapped in while it opens files, and what an open costs.

`python -m benchmarks.sandbox` makes 100,000 tries against a process that swaps a folder for a link to the
outside as fast as it can, then times an open through the sandbox against a plain one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.errors import InputError
from backprop_core.files import write_text
from backprop_core.sandbox import Sandbox
from benchmarks.report import Figure, show

_ROUNDS: Final = 20
_PER_ROUND: Final = 1000


@dataclass(frozen=True)
class Outcome:
    """What the tries came to.

    Attributes:
        written: ended in the sandbox; `refused`: ended with an error; `escapes`: reached the outside.
    """

    tries: int
    written: int
    refused: int
    escapes: int


def race(folder: Path, tries: int) -> Outcome:
    """Write and read through a folder that another process swaps for a link, and count what got out."""
    box = Sandbox(folder / "box")
    box.prepare()
    box.make_folders("uploads", "swapped")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (box.root / "uploads" / "swapped" / "secret").write_text("inside")
    swapper = multiprocessing.get_context("spawn").Process(
        target=_swap, args=(box.root / "uploads", outside), daemon=True
    )
    swapper.start()
    deadline = time.monotonic() + 20
    while not os.path.lexists(box.root / "uploads" / "aside") and time.monotonic() < deadline:
        pass
    try:
        counts = [_try(box, number) for number in range(tries)]
    finally:
        swapper.terminate()
        swapper.join()
    leaked = counts.count("escaped") + len(list(outside.iterdir())) - 1
    return Outcome(tries, counts.count("written"), counts.count("refused"), leaked)


def _swap(uploads: Path, outside: Path) -> None:
    """Take turns: the folder aside and a link in its place, then back."""
    swapped, aside, link = uploads / "swapped", uploads / "aside", uploads / "link"
    link.symlink_to(outside)
    while True:
        swapped.rename(aside)
        link.rename(swapped)
        swapped.rename(link)
        aside.rename(swapped)


def _try(box: Sandbox, number: int) -> str:
    """Make one try, of three kinds in turn: read, create, write through a held folder."""
    names = ("uploads", "swapped", f"f{number}")
    try:
        if number % 3 == 0:
            with box.open("uploads", "swapped", "secret") as stream:
                return "escaped" if stream.read() == b"secret" else "written"
        if number % 3 == 1:
            with box.create(*names) as stream:
                stream.write(b"x")
        else:
            with box.held("uploads", "swapped") as held:
                write_text(held / names[-1], "x", durable=False)
        return "written"
    except (InputError, FileNotFoundError):
        return "refused"


def open_cost_us(folder: Path) -> tuple[float, float]:
    """Return the microseconds of a plain open and of one through the sandbox, each read and closed."""
    box = Sandbox(folder / "box")
    box.prepare()
    with box.create("datasets", "rows.jsonl") as stream:
        stream.write(b"{}")
    path = box.path("datasets", "rows.jsonl")

    def plain() -> None:
        with path.open("rb") as stream:
            stream.read()

    def walked() -> None:
        with box.open("datasets", "rows.jsonl") as stream:
            stream.read()

    return _median_us(plain), _median_us(walked)


def _median_us(act: Callable[[], None]) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(_PER_ROUND):
            act()
        rounds.append((time.perf_counter() - start) / _PER_ROUND * 1e6)
    return statistics.median(rounds)


def measure(tries: int = 20_000) -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        plain, walked = open_cost_us(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        outcome = race(Path(folder), tries)
    return [
        Figure("plain open", plain, "us"),
        Figure("open through the sandbox, more", walked - plain, "us", 50.0),
        Figure(f"escapes in {outcome.tries} tries of a racing link", outcome.escapes, "", 0.0),
    ]


def main() -> int:
    """Print the figures; 1 when something got out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=100_000)
    figures = measure(parser.parse_args().tries)
    show("Sandbox", figures)
    return 0 if figures[-1].holds else 1


if __name__ == "__main__":
    sys.exit(main())

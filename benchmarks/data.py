"""What reading, checking, comparing and tokenizing data costs, beside the library named for each.

`python -m benchmarks.data`. Every figure of a large file is taken in a process of its own, so that
its peak of memory is its own; seconds are processor seconds, start-up left out.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import orjson

from backprop_core.datasets.cache import EncodeChoices, encode_file
from backprop_core.datasets.convert import convert
from backprop_core.datasets.duplicates import DuplicateFinder, can_find_near
from backprop_core.datasets.mask import encode_many
from backprop_core.datasets.preview import preview
from backprop_core.datasets.readers import RowReader, read_rows
from backprop_core.datasets.report import inspect_structure
from backprop_core.datasets.rows import Conversation, RawRow
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.turns import Rendered
from backprop_core.hub.records import no_progress
from backprop_core.hub.tutorial import fetch_tutorial_model
from benchmarks.report import Figure, machine, show

_BYTES = 125_000_000
_LONG_TEXT_ROWS = 20_000
_VOCABULARY = 4_000


def measure() -> list[Figure]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, array = _write_files(folder)
        return [
            *_reading(lines, array),
            *_near_duplicates(folder),
            *_tokenizing(lines, folder),
            *_first_rows(folder),
        ]


def _write_files(folder: Path) -> tuple[Path, Path]:
    """Write 125 MB of chats as JSON lines and as one array."""
    lines, array = folder / "chats.jsonl", folder / "chats.json"
    chance = random.Random(5)
    words = _words(chance)
    size = 0
    with lines.open("wb") as stream, array.open("wb") as other:
        while size < _BYTES:
            line = orjson.dumps(_chat(chance, words))
            other.write(b"[" if not size else b",\n")
            other.write(line)
            stream.write(line + b"\n")
            size += len(line) + 1
        other.write(b"]")
    return lines, array


def _words(chance: random.Random) -> list[str]:
    letters = "eeeeaaaiioouttnnssrrhhllddmcfgpwbyvk"
    return ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(_VOCABULARY)]


def _chat(chance: random.Random, words: list[str]) -> dict[str, object]:
    turns = []
    for _ in range(chance.choice([1, 1, 2, 3])):
        turns.append({"role": "user", "content": " ".join(chance.choices(words, k=chance.randint(8, 40)))})
        turns.append(
            {"role": "assistant", "content": " ".join(chance.choices(words, k=chance.randint(20, 160)))}
        )
    return {"messages": turns}


def _reading(lines: Path, array: Path) -> list[Figure]:
    plain_s, _ = _alone("orjson", lines)
    ours_s, ours_mb = _alone("check", lines)
    array_s, array_mb = _alone("check", array)
    figures = [
        Figure("JSONL of 125 MB: orjson by line, nothing else", plain_s, "s"),
        Figure("JSONL of 125 MB: read, hashed, detected, every row checked", ours_s, "s", 0.6),
        Figure("peak of memory", ours_mb, "MB", 100),
        Figure("JSON array of 125 MB: the same", array_s, "s", 0.6),
        Figure("peak of memory", array_mb, "MB", 100),
    ]
    try:
        import ijson  # noqa: F401 - only to see whether it is here
    except ImportError:
        return figures
    other_s, other_mb = _alone("ijson", array)
    return [
        *figures,
        Figure("JSON array of 125 MB: ijson", other_s, "s"),
        Figure("peak of memory", other_mb, "MB"),
    ]


def _near_duplicates(folder: Path) -> list[Figure]:
    if not can_find_near():
        return []
    chance = random.Random(6)
    words = _words(chance)
    rows = []
    for number in range(_LONG_TEXT_ROWS):
        text = chance.choices(words, k=300)
        if number % 20 == 0 and rows:
            text = [*chance.choice(rows)[:-2], "changed", "end"]
        rows.append(text)
    conversations = [Conversation((), number, text=" ".join(text)) for number, text in enumerate(rows, 1)]
    size = sum(len(conversation.text or "") for conversation in conversations)
    finder = DuplicateFinder()

    def find() -> None:
        for conversation in conversations:
            finder.add(conversation)
        finder.findings()

    seconds = _cpu_s(find)
    found = finder.findings()
    planted = len(range(20, _LONG_TEXT_ROWS, 20))
    return [
        Figure(f"near duplicates of 20,000 rows ({size / 1e6:.0f} MB)", seconds, "CPU s", 3.0),
        Figure(
            "planted ones found",
            100 * (found.exact_rows + (found.near_rows or 0)) / planted,
            "%",
            95,
            is_at_least=True,
        ),
    ]


def _tokenizing(lines: Path, folder: Path) -> list[Figure]:
    tokenizer = ChatTokenizer.load(
        fetch_tutorial_model(Path.home() / ".cache" / "backpropagate-tests", no_progress)
    )
    conversations = list(_conversations(lines, 4000))
    texts = [item.text for item in tokenizer.render_many(conversations) if isinstance(item, Rendered)]

    def plain() -> None:
        for first in range(0, len(texts), 256):
            tokenizer.encode_texts(texts[first : first + 256])

    def with_mask() -> None:
        for _ in encode_many(conversations, tokenizer, 2048):
            pass

    plain()
    plain_s, ours_s = _cpu_s(plain), _cpu_s(with_mask)
    part = folder / "part.jsonl"
    with lines.open("rb") as stream:
        part.write_bytes(b"".join(islice(stream, 10_000)))
    first_s = _cpu_s(lambda: encode_file(part, tokenizer, EncodeChoices(2048), cache=folder / "cache"))
    second_s = _wall_s(lambda: encode_file(part, tokenizer, EncodeChoices(2048), cache=folder / "cache"))
    return [
        Figure("4,000 chats: the tokenizer alone", plain_s, "CPU s"),
        Figure("4,000 chats: rendered, tokenized, masked", ours_s, "CPU s"),
        Figure("speed beside the tokenizer alone", 100 * plain_s / ours_s, "%", 70, is_at_least=True),
        Figure("10,000 chats encoded the first time", first_s, "CPU s"),
        Figure("10,000 chats encoded the second time", second_s, "s", 1.0),
    ]


def _first_rows(folder: Path) -> list[Figure]:
    tokenizer = ChatTokenizer.load(
        fetch_tutorial_model(Path.home() / ".cache" / "backpropagate-tests", no_progress)
    )
    large = folder / "large.jsonl"
    whole = (folder / "chats.jsonl").read_bytes()
    with large.open("wb") as stream:
        for _ in range(8):
            stream.write(whole)
    seconds = _wall_s(lambda: preview(large, tokenizer, 2048, count=20))
    return [Figure("first 20 rows of a file of 1 GB with their masks", seconds, "s", 1.0)]


def _conversations(path: Path, count: int) -> Iterator[Conversation]:
    for row in islice(read_rows(path), count):
        if isinstance(row, RawRow):
            converted = convert(row.value, row.row)
            if isinstance(converted, Conversation):
                yield converted


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _wall_s(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _alone(job: str, path: Path) -> tuple[float, float]:
    """Return processor seconds and peak megabytes of one job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data", job, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _job(job: str, path: Path) -> None:
    """Run one job and print its seconds and the peak of this process."""
    import resource

    jobs: dict[str, Callable[[], object]] = {
        "orjson": lambda: [None for line in path.open("rb") if orjson.loads(line) is None],
        "check": lambda: inspect_structure(path),
        "read": lambda: [None for _ in RowReader(path).batches()],
        "ijson": lambda: _stream_with_ijson(path),
    }
    seconds = min(_cpu_s(jobs[job]) for _ in range(3))
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))


def _stream_with_ijson(path: Path) -> None:
    import ijson

    with path.open("rb") as stream:
        for _ in ijson.items(stream, "item", use_float=True):
            pass


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _job(sys.argv[1], Path(sys.argv[2]))
    else:
        print(machine())
        show("Data", measure())

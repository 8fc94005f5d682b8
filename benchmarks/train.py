"""Training speed side by side: `python -m benchmarks.train [--cut 2048] [--rank 16] [--steps 20]`.

Every contender gets a process of its own, the same weights, the same documents in the same steps and
one torch thread; time is process CPU time, so that other work on the machine does not count. A figure
is void when its losses are not those of plain SFTTrainer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backprop_core.datasets.tokenizer import ChatTokenizer
from benchmarks.report import Figure, machine, show

CONTENDERS = ("plain", "best", "bare", "ours")
MEAN_GATE, STEP_GATE = 0.005, 0.01
ROWS_PER_STEP = 8
# Chat-like lengths in tokens: log-normal with this median and 95th percentile.
MEDIAN, P95 = 350, 1500


@dataclass(frozen=True)
class Result:
    """What one contender did; seconds are CPU seconds of the steps after the first."""

    contender: str
    losses: list[float]
    tokens: int
    supervised_tokens: int
    seconds: float
    peak_bytes: int
    first_step_s: float

    @property
    def tokens_per_s(self) -> float:
        """Real tokens by CPU second."""
        return self.tokens / self.seconds


def write_documents(path: Path, model: Path, *, rows: int, cut: int, full: bool, seed: int = 7) -> None:
    """Write chat rows of known token lengths; about half of each row is the answer."""
    random = np.random.default_rng(seed)
    words = _single_token_words(ChatTokenizer.load(model))
    sigma = np.log(P95 / MEDIAN) / 1.645
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(rows):
            length = cut if full else int(np.clip(random.lognormal(np.log(MEDIAN), sigma), 24, 4 * cut))
            # A long question leaves room for an answer before the cut.
            count = max(4, min(length // 2, cut // 2 - 40))
            asked, answered = (" ".join(random.choice(words, n)) for n in (count, max(4, length - count)))
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            stream.write(json.dumps({"messages": turns}) + "\n")


def _single_token_words(tokenizer: ChatTokenizer) -> list[str]:
    found = []
    for number in range(300, tokenizer.vocabulary_size):
        text = tokenizer.token_text(number)
        if text.startswith(" ") and text[1:].isalpha() and text.isascii() and text.islower():
            found.append(text[1:])
        if len(found) == 2000:
            break
    return found


def run(contender: str, options: dict[str, object]) -> Result:
    """Run one contender in a process of its own."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    # What the launcher gives a worker (backprop_core.jobs.launcher); all contenders profit alike.
    env |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "536870912"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contender", json.dumps({"contender": contender, **options})],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    return Result(contender, **json.loads(done.stdout.splitlines()[-1]))


def figures(results: dict[str, Result], cut: int) -> list[Figure]:
    """Return the table of one comparison."""
    found = []
    plain = results["plain"]
    limits = {"plain": {2048: 3.0, 512: 1.3}.get(cut), "best": {512: 1.0}.get(cut)}
    for result in results.values():
        name = result.contender
        found += [
            Figure(f"{name}: real tokens by CPU second", result.tokens_per_s, "tokens/s"),
            Figure(f"{name}: peak memory", result.peak_bytes / 2**30, "GiB"),
            Figure(f"{name}: start to the first step", result.first_step_s, "s"),
        ]
        # Packed data sets put other documents into each step, so that losses cannot be compared.
        if name not in ("plain", "best"):
            apart = np.abs(np.subtract(result.losses, plain.losses))
            found.append(Figure(f"{name}: mean loss difference to plain", apart.mean(), "nats", MEAN_GATE))
            found.append(Figure(f"{name}: largest loss difference to plain", apart.max(), "nats", STEP_GATE))
    ours = results["ours"]
    late = ours.first_step_s / plain.first_step_s
    found.append(Figure("ours against plain: start to the first step", late, "x", 1.1))
    for name in ("plain", "best", "bare"):
        if name in results:
            ratio = ours.tokens_per_s / results[name].tokens_per_s
            found.append(Figure(f"ours against {name}", ratio, "x", limits.get(name), is_at_least=True))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the tutorial model by default")
    parser.add_argument("--cut", type=int, default=2048)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--full", action="store_true", help="every row fills the cut")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=CONTENDERS)
    chosen = parser.parse_args()
    model = chosen.model or tutorial_model()
    with tempfile.TemporaryDirectory() as place:
        rows = Path(place) / "rows.jsonl"
        write_documents(rows, model, rows=chosen.steps * ROWS_PER_STEP, cut=chosen.cut, full=chosen.full)
        options = {
            "model": str(model),
            "rows": str(rows),
            "cut": chosen.cut,
            "rank": chosen.rank,
            "steps": chosen.steps,
            "place": place,
        }
        results = {}
        for contender in chosen.only:
            results[contender] = run(contender, options)
            print(results[contender], file=sys.stderr, flush=True)
    print(machine())
    kind = "full rows" if chosen.full else "chat rows"
    if {"plain", "ours"} <= results.keys():
        show(f"Training: {kind} cut at {chosen.cut}, rank {chosen.rank}", figures(results, chosen.cut))


def tutorial_model() -> Path:
    """Return the folder of the tutorial model, fetched when it is not here."""
    from backprop_core.hub.download import resolve_model

    cache = Path(os.environ.get("BACKPROPAGATE_HOME", Path.home() / ".backpropagate")) / "cache" / "models"
    return resolve_model("smollm2-135m", cache_dir=cache).path


if __name__ == "__main__":
    main()

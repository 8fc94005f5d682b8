"""The forget matrix of a campaign once more, from its saved adapters: `python -m benchmarks.continual.recompute RUN`.

Shares no code with the engine that measured it: plain transformers, plain PEFT, one row at a time, full logits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

Scores = dict[tuple[int, str], list[float]]


def held_out_rows(leg: Path) -> list[tuple[list[int], list[int]]]:
    """Return token ids and the positions whose next token carries loss, of each held-out row of a leg."""
    lines = [json.loads(line) for line in (leg / "rows.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    return [(line["ids"], line["sources"]) for line in lines if line["is_held_out"]]


def mean_loss(model: Any, rows: list[tuple[list[int], list[int]]]) -> float:
    """Return the mean loss by supervised token."""
    total, count = 0.0, 0
    for ids, sources in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
        chances = torch.log_softmax(logits, dim=-1)
        total -= sum(float(chances[place, ids[place + 1]]) for place in sources)
        count += len(sources)
    return total / count


def recompute(run: Path, model: Path) -> Scores:
    """Return the losses of base, own and merged adapters on the held-out rows of every leg.

    Args:
        run: folder of the campaign.
        model: folder of its base model.
    """
    legs = sorted(path for path in (run / "legs").iterdir() if (path / "rows.jsonl").is_file())
    sets = [held_out_rows(leg) for leg in legs]

    def base() -> Any:
        return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    found: Scores = {(0, "base"): [mean_loss(base(), rows) for rows in sets]}
    for leg in legs:
        for folder, adapter in (("own", "unmerged"), ("merged", "merged")):
            if (leg / folder).is_dir():
                tuned = PeftModel.from_pretrained(base(), leg / folder).eval()
                found[int(leg.name), adapter] = [mean_loss(tuned, rows) for rows in sets]
    return found


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the campaign")
    parser.add_argument("--model", type=Path, required=True, help="folder of its base model")
    chosen = parser.parse_args()
    for (leg, adapter), losses in recompute(chosen.run, chosen.model).items():
        print(f"{leg:3} {adapter:9} {'  '.join(f'{loss:.4f}' for loss in losses)}")


if __name__ == "__main__":
    main()

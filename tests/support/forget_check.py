"""Measures a campaign's matrix again with plain transformers and PEFT: `python forget_check.py MODEL CAMPAIGN`.

Knows nothing of the product but where adapters and held-out rows lie. Prints one JSON object: mean loss by
supervised token after each leg on the rows of each leg, the base model first, and the product's weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def held_out(leg: Path) -> list[tuple[list[int], list[int]]]:
    """Return ids and positions whose next token counts, of each held-out row of a leg."""
    rows = [json.loads(line) for line in (leg / "rows.jsonl").read_text().splitlines()[1:]]
    return [(row["ids"], row["sources"]) for row in rows if row["is_held_out"]]


def loss_on(model: torch.nn.Module, rows: list[tuple[list[int], list[int]]]) -> float:
    """Return the mean loss by supervised token."""
    total, number = 0.0, 0
    for ids, sources in rows:
        logits = model(torch.tensor([ids])).logits[0].float()  # (seq, vocabulary)
        targets = torch.tensor([ids[at + 1] for at in sources])
        total += float(torch.nn.functional.cross_entropy(logits[sources], targets, reduction="sum"))
        number += len(sources)
    return total / number


def main(model_path: str, campaign: str) -> None:
    """Print the matrix."""
    torch.set_num_threads(1)
    folder = Path(campaign)
    legs = sorted(path for path in (folder / "legs").iterdir() if path.is_dir() and int(path.name) > 0)
    sets = [held_out(leg) for leg in legs]
    # As the campaign holds it on this processor.
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        matrix = [[loss_on(model, rows) for rows in sets]]
        for leg in legs:
            adapted = PeftModel.from_pretrained(model, leg / "merged").eval()
            matrix.append([loss_on(adapted, rows) for rows in sets])
            model = adapted.unload()
        product = PeftModel.from_pretrained(model, folder / "adapter")
    learned = sum(float(value.abs().sum()) for name, value in product.named_parameters() if "lora_B" in name)
    print(json.dumps({"matrix": matrix, "product": learned}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What the model answers to one fixed question at this step, so that people can read the change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from backprop_core.datasets.rows import Message, RowFault
from backprop_core.datasets.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from backprop_core.engine.trainer import RunTrainer

MAX_NEW_TOKENS: Final = 96


def answer(trainer: RunTrainer, question: str) -> str:
    """Return the most likely answer of the model to `question`, cut after a few lines.

    Changes neither weights nor random generators. The question is put into the template as the rows
    were: in a child with limits, when nobody here has read that template.
    """
    tokenizer, model = trainer.processing_class, trainer.model
    try:
        text = ChatTokenizer.load(Path(tokenizer.name_or_path)).render_prompt([Message("user", question)])
    except RowFault as fault:
        return f"(no answer: {fault.reason})"
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(trainer.args.device)
    model.eval()
    try:
        with trainer.plain_attention(), torch.no_grad(), trainer.autocast():
            ids = model.generate(
                **prompt,
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
            )
    finally:
        model.train()
    return str(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)).strip()

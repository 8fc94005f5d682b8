"""What the model answers to one fixed question at this step, so that people can read the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from backprop_core.engine.trainer import RunTrainer

MAX_NEW_TOKENS: Final = 96


def answer(trainer: RunTrainer, question: str) -> str:
    """Return the most likely answer of the model to `question`, cut after a few lines.

    Changes neither weights nor random generators.
    """
    tokenizer, model = trainer.processing_class, trainer.model
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).to(trainer.args.device)
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

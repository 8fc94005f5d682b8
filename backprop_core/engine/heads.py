"""Loss over the supervised tokens alone, without ever holding all their logits.

The head's gradient is computed beside the loss, chunk by chunk, so that the logits of a chunk exist
once. Does nothing for heads that scale or cap their logits; those take the model's own forward.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

_CHUNK: Final = 256
_SCALED_HEADS: Final = ("logit_scale", "logits_scaling", "final_logit_softcapping", "lm_head_multiplier")


def has_plain_head(model: Any) -> bool:
    """Return whether logits are hidden states times one weight, so that `summed_loss` is exact."""
    head = model.get_output_embeddings()
    config = model.config.get_text_config()
    return (
        type(head) is torch.nn.Linear
        and head.bias is None
        and not any(getattr(config, name, None) for name in _SCALED_HEADS)
    )


def summed_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross entropy of next tokens as a scalar in fp32.

    Args:
        hidden: `(targets, width)` states in the dtype of the computation.
        weight: `(vocabulary, width)` of the head.
        targets: `(targets,)` ids.
    """
    return _SummedLoss.apply(hidden, weight, targets)


class _SummedLoss(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        kernel = weight.to(hidden.dtype)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        for first in range(0, len(targets), _CHUNK):
            part = slice(first, first + _CHUNK)
            wanted = targets[part, None]
            logits = (hidden[part] @ kernel.t()).float()
            norm = torch.logsumexp(logits, 1, keepdim=True)
            loss += (norm - logits.gather(1, wanted)).sum()
            # From here on the buffer holds softmax minus one-hot, the gradient of the logits.
            logits.sub_(norm).exp_()
            logits.scatter_add_(1, wanted, torch.full_like(norm, -1.0))
            grad = logits.to(hidden.dtype)
            hidden_grad[part] = grad @ kernel
            if weight_grad is not None:
                weight_grad.addmm_(grad.t(), hidden[part])
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad,) = grads
        hidden_grad, weight_grad = ctx.saved_tensors
        if weight_grad is not None:
            weight_grad = (weight_grad * grad).to(ctx.weight_dtype)
        return hidden_grad * grad, weight_grad, None

"""How certain file and trained model are of each token of the same answers (teacher forcing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from backprop_core.config.proofs import CheckStatus, ProofCheck
from backprop_core.engine.proof.engine_process import Engine
from backprop_core.engine.proof.rows import ProofRow
from backprop_core.engine.proof.thresholds import AMBER_KL, TIE_NATS, limits_of
from backprop_core.errors import DependencyError
from backprop_core.hub.model_folder import require_plain_adapter
from backprop_core.telemetry.host import best_source

_LIKELIEST: Final = 64
_TINY: Final = 1e-12
_HEADROOM: Final = 1.2
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError)


@dataclass(frozen=True, slots=True)
class Certainty:
    """The trained model's log-probabilities, one `(places, vocabulary)` tensor per row.

    Attributes:
        is_exact: whether they were computed in float32.
    """

    rows: tuple[torch.Tensor, ...]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike file and trained model answer.

    Attributes:
        top1: share of tokens on whose likeliest choice both agree.
        mean_kl: mean divergence of the file from the trained model, in nats.
    """

    tokens: int
    top1: float
    mean_kl: float


def trained_certainty(
    model: Path, adapter: Path | None, rows: Sequence[ProofRow], check: Callable[[], None]
) -> Certainty:
    """Return what the trained model says, the adapter merged by its own library.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED, or it does not fit into memory.
    """
    dtype = _dtype(model)
    transformers_logging.disable_progress_bar()
    try:
        trained = AutoModelForCausalLM.from_pretrained(
            model, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        if adapter is not None:
            require_plain_adapter(adapter)
            trained = PeftModel.from_pretrained(trained, str(adapter), use_safetensors=True)
            trained = trained.merge_and_unload()
    except _LOAD_ERRORS as error:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED", f"The trained model cannot be loaded to compare with: {str(error)[:200]}"
        ) from error
    finally:
        transformers_logging.enable_progress_bar()
    trained.eval()
    found = []
    for row in rows:
        check()
        with torch.no_grad():
            logits = trained(torch.tensor([row.ids])).logits[0]
        before = torch.tensor(row.places) - 1
        found.append(torch.log_softmax(logits[before].double(), -1).float())
    return Certainty(tuple(found), dtype == torch.float32)


def measure_likeness(
    engine: Engine, rows: Sequence[ProofRow], certainty: Certainty, plain_token: int | None
) -> Likeness:
    """Ask the engine for its likeliest tokens at each place and compare.

    The divergence KL(trained || file) is taken over the file's likeliest tokens one by one and all others
    together, which is never more than that over the whole vocabulary.

    Args:
        plain_token: a token of one plain character. The engine withholds half a character together with its
            probabilities, so the token that it takes is forced; the probabilities are those before that.

    Raises:
        EngineFailed: it died, or gave no answer in time.
    """
    divergences: list[float] = []
    agreed = 0
    for row, expected in zip(rows, certainty.rows, strict=True):
        for place, trained in zip(row.places, expected, strict=True):
            file = _file_certainty(engine, row.ids[:place], plain_token)
            divergences.append(_divergence(trained, file))
            choice = max(file, key=lambda token: file[token])
            agreed += bool(trained[choice] >= trained.max() - TIE_NATS)
    count = len(divergences)
    return Likeness(count, agreed / count, sum(divergences) / count)


def judge(likeness: Likeness, quantization: str, origin: str, *, is_exact: bool) -> ProofCheck:
    """Return the check that a measurement comes to."""
    limits = limits_of(quantization, is_reference_exact=is_exact)
    status: CheckStatus = "pass"
    cause = ""
    if limits.mean_kl is not None and not likeness.mean_kl < limits.mean_kl:
        status, cause = "fail", f"The answers differ by a mean KL of {likeness.mean_kl:.2g} nats."
    elif limits.top1 is not None and likeness.top1 < limits.top1:
        status, cause = "fail", f"Only {likeness.top1:.1%} of the answer tokens are the same choice."
    elif limits.mean_kl is None and not likeness.mean_kl <= AMBER_KL:
        status = "note"
        cause = f"{quantization} costs this model a mean KL of {likeness.mean_kl:.2g} nats; a larger type keeps more."
    return ProofCheck(
        name="answers",
        status=status,
        measured=f"same choice {likeness.top1:.1%}, mean KL {likeness.mean_kl:.2g}, {likeness.tokens} tokens of {origin}",
        limit=limits.in_words(),
        cause=cause,
    )


def _file_certainty(engine: Engine, prompt: Sequence[int], plain_token: int | None) -> dict[int, float]:
    body: dict[str, Any] = {
        "prompt": list(prompt),
        "n_predict": 1,
        "n_probs": _LIKELIEST,
        "temperature": 0,
        "cache_prompt": True,
    }
    if plain_token is not None:
        body["logit_bias"] = [[plain_token, 1e4]]
    (step,) = engine.ask("/completion", body)["completion_probabilities"]
    return {entry["id"]: entry["logprob"] for entry in step["top_logprobs"]}


def _divergence(trained: torch.Tensor, file: dict[int, float]) -> float:
    """Return KL(trained || file) in nats with everything outside of `file` as one outcome."""
    known = trained[list(file)].double()
    q = torch.tensor(list(file.values()), dtype=torch.float64)
    p_rest = max(_TINY, 1 - float(known.exp().sum()))
    q_rest = max(_TINY, 1 - float(q.exp().sum()))
    inside = float((known.exp() * (known - q)).sum())
    return max(0.0, inside + p_rest * float(torch.log(torch.tensor(p_rest / q_rest))))


def _dtype(model: Path) -> torch.dtype:
    """Return float32 where it fits into free memory, else bf16.

    Raises:
        DependencyError: neither fits.
    """
    stored = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    memory = best_source().memory()
    if memory is None or 2 * stored * _HEADROOM < memory[1]:
        return torch.float32
    if stored * _HEADROOM < memory[1]:
        return torch.bfloat16
    raise DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"Comparing answers needs {stored / 2**30:.1f} GiB of memory for the trained model; that much is not free.",
    )

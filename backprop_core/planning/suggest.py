"""The one change that helps most: what makes a run fit, or what makes it lighter at no loss."""

from __future__ import annotations

from dataclasses import replace

from backprop_core.planning.fit import Case, Fit, best_fit
from backprop_core.planning.rank import FULL_MODE_RATE, LORA_RATE, RANKS, choose_rank
from backprop_core.planning.records import PlanFacts, Suggestion
from backprop_core.units import compact, count, gib, rate

_SHORTER: tuple[int, ...] = (1024, 512, 256)


def suggest(case: Case, facts: PlanFacts, fit: Fit) -> Suggestion | None:
    """Return the change to offer beside Start; None when nothing is to be gained."""
    r = fit.load.lora_r
    if r is None:
        return _full_mode_rate(case)
    if fit.forecast.peak_bytes > case.free_bytes:
        return _smaller_rank(case, facts, r) or _four_bit(case, r) or _shorter(case, r)
    return _enough(case, facts, r)


def _full_mode_rate(case: Case) -> Suggestion | None:
    if case.spec.learning_rate != LORA_RATE:
        return None
    value = rate(FULL_MODE_RATE)
    text = f"{rate(LORA_RATE)} is LoRA's learning rate. Full mode learns best at about a tenth of it."
    return Suggestion(text, "learning_rate", value, f"Use {value}")


def _smaller_rank(case: Case, facts: PlanFacts, r: int) -> Suggestion | None:
    """Offer `auto` when its rank fits, which is the smallest that covers the data."""
    smaller = [rank for rank in RANKS if rank < r and best_fit(case, rank).fits]
    if not smaller:
        return None
    auto = _auto_rank(case, facts)
    peak = gib(best_fit(case, auto).forecast.peak_bytes)
    if auto in smaller:
        return Suggestion(
            f"Rank {r} does not fit. Auto takes rank {auto}: about {peak}.", "lora_preset", "auto", "Use Auto"
        )
    largest = smaller[-1]
    peak = gib(best_fit(case, largest).forecast.peak_bytes)
    text = f"Rank {r} does not fit. Rank {largest} does: about {peak}."
    return Suggestion(text, "lora_r", largest, f"Use rank {largest}")


def _four_bit(case: Case, r: int) -> Suggestion | None:
    if case.device != "cuda" or case.spec.quantization != "none":
        return None
    fit = best_fit(replace(case, spec=case.spec.model_copy(update={"quantization": "4bit"})), r)
    if not fit.fits:
        return None
    text = f"In 4-bit the run fits: about {gib(fit.forecast.peak_bytes)}."
    return Suggestion(text, "quantization", "4bit", "Use 4-bit")


def _shorter(case: Case, r: int) -> Suggestion | None:
    for length in _SHORTER:
        if length >= case.spec.max_seq_length:
            continue
        fit = best_fit(replace(case, spec=case.spec.model_copy(update={"max_seq_length": length})), r)
        if fit.fits:
            text = f"Rows cut at {count(length)} tokens fit: about {gib(fit.forecast.peak_bytes)}."
            return Suggestion(text, "max_seq_length", length, f"Cut at {count(length)}")
    return None


def _enough(case: Case, facts: PlanFacts, r: int) -> Suggestion | None:
    if case.spec.lora_r == "auto" or facts.data is None or not facts.data.supervised_tokens:
        return None
    auto = _auto_rank(case, facts)
    if auto >= r:
        return None
    tokens = compact(facts.data.supervised_tokens)
    peak = gib(best_fit(case, auto).forecast.peak_bytes)
    text = f"Rank {auto} would be enough for {tokens} tokens. Auto would take it: about {peak}."
    return Suggestion(text, "lora_preset", "auto", "Use Auto")


def _auto_rank(case: Case, facts: PlanFacts) -> int:
    supervised = facts.data.supervised_tokens if facts.data is not None else 0
    choice = choose_rank(
        case.shape, supervised, case.spec.target_modules, lambda rank: best_fit(case, rank).fits
    )
    return choice.r

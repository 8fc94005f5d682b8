"""The words beside each derived value: a few on its line, one paragraph behind "why"."""

from __future__ import annotations

from backprop_core.config.specs import PRESETS, TrainSpec, alpha_for_rank
from backprop_core.planning.batch import EFFECTIVE_BATCH
from backprop_core.planning.device import CPU_PARAMETERS
from backprop_core.planning.fit import Case, Fit, smallest, without_recompute
from backprop_core.planning.rank import FULL_MODE_RATE, LORA_RATE, RankChoice
from backprop_core.planning.records import Choices, Derived, PlanFacts
from backprop_core.units import compact, count, gib, rate


def explain(
    spec: TrainSpec,
    facts: PlanFacts,
    *,
    device_name: str,
    choices: Choices,
    case: Case | None,
    rank: RankChoice,
    fit: Fit | None,
) -> tuple[Derived, ...]:
    """Return the derived values in the order of the page."""
    return (
        _rank(spec, facts, choices, rank, fit),
        _learning_rate(spec, choices),
        _length(spec, facts),
        _batch(spec, facts, choices, fit),
        _weights(spec, choices, case, fit),
        _optimizer(spec, choices),
        _recompute(spec, choices, case, fit),
        _device(spec, facts, device_name, choices),
        _checkpoints(spec, choices),
    )


def _rank(spec: TrainSpec, facts: PlanFacts, choices: Choices, rank: RankChoice, fit: Fit | None) -> Derived:
    if spec.mode == "full":
        return _method(fit)
    value, aside = count(choices.lora_r), f"alpha {choices.lora_alpha:g}"
    size = ""
    if fit is not None and fit.load.lora_r is not None:
        parameters = fit.load.shape.adapter_parameters(choices.lora_r, spec.target_modules)
        size = f" At rank {choices.lora_r} the adapter has {compact(parameters)} parameters."
    if spec.lora_r != "auto":
        is_preset = PRESETS[spec.lora_preset]["lora_r"] == spec.lora_r
        reason = f"preset {spec.lora_preset}" if is_preset else "set"
        detail = f"The rank is the room that the adapter has to learn in.{size} {_alpha_words(spec, choices)}"
        return Derived("lora_r", "Rank", value, reason, detail, aside)
    if facts.data is None:
        reason, words = "no data yet", "The rank is worked out once the data is read."
    elif rank.covers:
        tokens = compact(facts.data.supervised_tokens)
        reason = f"covers {tokens} tokens"
        words = f"The smallest rank with a parameter for each of the {tokens} tokens that carry loss."
    else:
        reason, words = (
            "largest that fits",
            "A higher rank would cover the data better and not fit the memory.",
        )
    return Derived("lora_r", "Rank", value, reason, f"{words}{size} {_alpha_words(spec, choices)}", aside)


def _method(fit: Fit | None) -> Derived:
    size = f" {compact(fit.load.trainable_parameters)} parameters learn." if fit is not None else ""
    detail = f"Full mode trains the model itself instead of an adapter.{size}"
    return Derived("mode", "Method", "every weight", "full mode", detail)


def _alpha_words(spec: TrainSpec, choices: Choices) -> str:
    if spec.lora_alpha == "auto":
        return "Alpha stays at 32, or twice the rank below 16, so that one learning rate suits every rank."
    return f"Alpha is set; the rule would give {alpha_for_rank(choices.lora_r):g}."


def _learning_rate(spec: TrainSpec, choices: Choices) -> Derived:
    value = rate(spec.learning_rate)
    if spec.mode == "full":
        reason = f"full mode wants {rate(FULL_MODE_RATE)}" if spec.learning_rate == LORA_RATE else "set"
        detail = (
            "Training every weight wants about a tenth of LoRA's rate; higher forgets what the model knew."
        )
        return Derived("learning_rate", "Learning rate", value, reason, detail)
    reason = f"rule for rank {choices.lora_r}" if spec.learning_rate == LORA_RATE else "set"
    detail = (
        "LoRA learns best at about ten times the rate of full tuning, 2e-4 for most models. "
        "With alpha constant it need not change with the rank."
    )
    return Derived("learning_rate", "Learning rate", value, reason, detail)


def _length(spec: TrainSpec, facts: PlanFacts) -> Derived:
    value = f"{count(spec.max_seq_length)} tokens"
    data = facts.data
    if data is None:
        detail = "Rows longer than this are cut. Known once the data is read."
        return Derived("max_seq_length", "Length", value, "no data yet", detail)
    about = "about " if data.is_estimate else ""
    if data.truncated_rows == 0:
        reason = "no row is cut"
        words = "All of them fit"
    else:
        reason = f"{about}{count(data.truncated_rows)} rows are cut"
        words = f"{about}{count(data.truncated_rows)} of {count(data.usable_rows)} rows are longer and lose their end"
        words = words[0].upper() + words[1:]
    detail = (
        f"The longest row has {about}{count(data.longest_tokens)} tokens, "
        f"19 of 20 have at most {count(data.p95_tokens)}. {words}. Memory is planned for the longest."
    )
    return Derived("max_seq_length", "Length", value, reason, detail)


def _batch(spec: TrainSpec, facts: PlanFacts, choices: Choices, fit: Fit | None) -> Derived:
    micro, accumulation = choices.batch_size, choices.gradient_accumulation
    effective = micro * accumulation
    rows = facts.data.usable_rows if facts.data is not None else None
    if spec.batch_size != "auto":
        reason = "set"
    elif fit is None:
        reason = "model not read yet"
    elif rows is not None and rows == effective < EFFECTIVE_BATCH:
        reason = "all rows of the data"
    else:
        reason = "fits the card" if choices.device == "cuda" else "fits the memory"
    detail = (
        f"Each optimizer step learns from {_counted(effective, 'row')}: "
        f"{_counted(accumulation, 'micro-batch', 'micro-batches')} of {micro}. "
        f"{EFFECTIVE_BATCH} rows a step suit LoRA; larger micro-batches are faster and need more memory."
    )
    aside = f"{micro} × {accumulation} accumulated"
    return Derived("batch_size", "Batch", count(effective), reason, detail, aside)


def _weights(spec: TrainSpec, choices: Choices, case: Case | None, fit: Fit | None) -> Derived:
    label = {"none": "", "4bit": "4-bit nf4", "8bit": "8-bit"}[choices.quantization]
    if case is None or fit is None:
        value = label or "not quantized"
        return Derived(
            "quantization", "Weights", value, "model not read yet", "Known once its config is here."
        )
    value = label or case.precision
    dense = gib(smallest(case, choices.lora_r, "none").peak_bytes)
    if spec.quantization != "auto":
        reason, detail = "set", f"The frozen base is held as {value}. Unquantized the run needs {dense}."
    elif choices.quantization == "4bit":
        reason = f"{case.precision} needs {dense}"
        detail = (
            f"Unquantized the run needs at least {dense}; {gib(case.free_bytes)} are free. "
            "In 4-bit the frozen base takes about a quarter; the adapter learns in bf16."
        )
    elif case.device == "cpu":
        reason = "processor"
        detail = (
            "This processor multiplies bf16 itself, which halves memory and is faster than fp32."
            if case.precision == "bf16"
            else "This processor has no bf16 units, so the weights are held in fp32."
        )
    else:
        reason, detail = "fits unquantized", "Unquantized weights are faster and exact, and they fit."
    return Derived("quantization", "Weights", value, reason, detail)


def _optimizer(spec: TrainSpec, choices: Choices) -> Derived:
    names = {"adamw_torch": "AdamW", "adamw_8bit": "AdamW, 8-bit", "paged_adamw_8bit": "AdamW, paged 8-bit"}
    if spec.optim != "auto":
        reason = "set"
    else:
        reason = "a quarter of the state" if choices.device == "cuda" else "processor"
    detail = (
        "AdamW keeps two numbers per learning weight. On CUDA they are held in 8 bits, a quarter of the memory; "
        "on a processor in 32 bits."
    )
    return Derived("optim", "Optimizer", names[choices.optim], reason, detail)


def _recompute(spec: TrainSpec, choices: Choices, case: Case | None, fit: Fit | None) -> Derived:
    value = choices.gradient_checkpointing
    detail = "Recomputing keeps only the input of each layer: about a third slower, far less memory."
    if case is None or fit is None:
        return Derived("gradient_checkpointing", "Recompute", value, "model not read yet", detail)
    kept = gib(without_recompute(case, fit).peak_bytes)
    if value == "on":
        detail = f"{detail} Without it the run needs {kept}."
    if spec.gradient_checkpointing != "auto":
        reason = "set"
    else:
        reason = "fits without" if value == "off" else f"without it {kept}"
    return Derived("gradient_checkpointing", "Recompute", value, reason, detail)


def _device(spec: TrainSpec, facts: PlanFacts, device_name: str, choices: Choices) -> Derived:
    value = device_name[0].upper() + device_name[1:]
    reason = {"cuda": "CUDA", "cpu": "no CUDA card"}[choices.device] if spec.device == "auto" else "set"
    why = facts.machine.gpu_problem
    detail = (
        f"A card is taken wherever PyTorch can use one; without it models up to {compact(CPU_PARAMETERS)} "
        f"parameters train on the processor.{' ' + why if why else ''}"
    )
    return Derived("device", "Device", value, reason, detail)


def _checkpoints(spec: TrainSpec, choices: Choices) -> Derived:
    every = choices.checkpoint_every
    value = f"every {count(every)} steps" if every > 1 else "every step"
    reason = "about ten a run" if spec.checkpoint_every == "auto" else "set"
    detail = (
        f"A kill or a power cut costs at most {count(every)} steps. The newest three and the best are kept."
    )
    return Derived("checkpoint_every", "Checkpoint", value, reason, detail)


def _counted(number: int, one: str, more: str = "") -> str:
    return f"{count(number)} {one if number == 1 else more or one + 's'}"

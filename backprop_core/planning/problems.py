"""Why a run cannot start, at the field that can be changed. Device and disk have files of their own."""

from __future__ import annotations

from backprop_core.config.resolve import FieldProblem
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.fit import Fit
from backprop_core.planning.records import DataFacts, ModelFacts
from backprop_core.units import count, gib


def data_problems(spec: TrainSpec, data: DataFacts | None) -> list[FieldProblem]:
    """Return why nothing can be learned from the data."""
    if data is None:
        if spec.dataset:
            return []
        hint = "Name a file with --data, for example examples/quickstart.jsonl."
        return [FieldProblem("dataset", "INPUT_DATASET_NOT_FOUND", "No data is chosen.", hint)]
    if data.usable_rows == 0:
        message = f"None of the {count(data.rows)} rows can be learned from."
        hint = f"Run `backprop validate {spec.dataset}` to see each row with its reason."
        return [FieldProblem("dataset", "INPUT_DATASET_INVALID", message, hint)]
    if data.supervised_tokens == 0:
        message = "No token carries loss: every assistant turn is empty or lies behind the cut."
        hint = "Raise --max-seq-length, or learn all turns by turning train_on_responses off."
        return [FieldProblem("dataset", "INPUT_DATASET_INVALID", message, hint)]
    return []


def model_problems(spec: TrainSpec, model: ModelFacts) -> list[FieldProblem]:
    """Return which fields ask for something that the model does not have."""
    shape = model.shape
    if shape is None:
        return []
    problems = []
    if spec.max_seq_length > shape.max_positions:
        problems.append(
            FieldProblem(
                "max_seq_length",
                "INPUT_VALIDATION_FAILED",
                f"The model reads at most {count(shape.max_positions)} tokens.",
                f"Set the length to {shape.max_positions} or less.",
            )
        )
    if not shape.targets(spec.target_modules):
        known = ", ".join(linear.name for linear in shape.linears)
        problems.append(
            FieldProblem(
                "target_modules",
                "INPUT_VALIDATION_FAILED",
                f"{model.name} has no linear layer called {spec.target_modules[:80]}.",
                f"It has {known}; all-linear takes every one.",
            )
        )
    return problems


def method_problems(spec: TrainSpec) -> list[FieldProblem]:
    """Return which fields ask for two things that exclude each other."""
    problems = []
    if spec.mode == "full" and spec.from_adapter is not None:
        problems.append(
            _excluded(
                "from_adapter",
                "Full mode trains no adapter.",
                "Use --mode lora, or leave --from-adapter out.",
            )
        )
    if spec.init_lora_weights == "pissa" and spec.quantization in {"4bit", "8bit"}:
        problems.append(
            _excluded(
                "init_lora_weights",
                f"PiSSA needs weights that are not in {spec.quantization}.",
                "Use --quantization none, or --init-lora-weights default.",
            )
        )
    if spec.init_lora_weights == "pissa" and spec.use_dora:
        problems.append(
            _excluded("init_lora_weights", "PiSSA and DoRA exclude each other.", "Turn one of them off.")
        )
    if spec.early_stopping is not None and spec.eval_split == 0:
        problems.append(
            _excluded(
                "early_stopping",
                "Early stopping measures held-out rows, and none are held out.",
                "Add --eval-split 0.1.",
            )
        )
    return problems


def _excluded(field: str, message: str, hint: str) -> FieldProblem:
    return FieldProblem(field, "INPUT_VALIDATION_FAILED", message, hint)


def memory_problems(fit: Fit, free_bytes: int) -> list[FieldProblem]:
    """Return why the device cannot hold the run.

    Only a forecast that lies above the free memory by more than its error bar stops a run.
    """
    peak = fit.forecast.peak_bytes
    if peak - fit.forecast.error_bytes <= free_bytes:
        return []
    what = "card" if fit.load.device == "cuda" else "machine"
    return [
        FieldProblem(
            "lora_r",
            "RUNTIME_GPU_OOM",
            f"The run needs about {gib(peak)}; {gib(free_bytes)} are free on this {what}.",
            "Take a lower rank or length, or a smaller model.",
        )
    ]

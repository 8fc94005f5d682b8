"""The failure card: what happened, why, what is safe, and what may be done about it, least change first.

One record for every face: the page draws it, `show-run` and `watch` print it, the morning report lists
its fixes. Every code of the catalogue gives a card; where a setting would help, the card names it and,
for a training run, offers it as a new run with that setting changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from backprop_core import units
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import CATALOGUE, ErrorRecord, InputError
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services import replaying, runs, training
from backprop_core.workspace import Workspace

_LOG_LINES: Final = 30
_SHORTEST: Final = 64
_FAST_RANK: Final = 16
_GENTLER: Final = 0.25

# The setting that decides over what a code complains about: a field of a run, or `section.name`.
SETTING_BY_CODE: Final[dict[str, str]] = {
    "INPUT_AUTH_REQUIRED": "ui.auth",
    "INPUT_AUTH_INVALID_SHAPE": "ui.auth",
    "INPUT_DATASET_INVALID": "dataset",
    "INPUT_DATASET_NOT_FOUND": "dataset",
    "INPUT_DATASET_PARSE_FAILED": "dataset",
    "INPUT_DATASET_FORMAT_UNSUPPORTED": "dataset",
    "INPUT_MODEL_NOT_FOUND": "model",
    "INPUT_ADAPTER_INVALID": "from_adapter",
    "INPUT_OUTPUT_DIR_NOT_OURS": "output_dir",
    "DEP_GPU_NOT_AVAILABLE": "device",
    "DEP_MODEL_LOAD_FAILED": "model",
    "RUNTIME_GPU_OOM": "batch_size",
    "RUNTIME_OOM_RECOVERY_EXHAUSTED": "max_seq_length",
    "RUNTIME_LOSS_NOT_FINITE": "learning_rate",
    "RUNTIME_DISK_FULL": "output_dir",
    "RUNTIME_FULL_FT_MODEL_TOO_LARGE": "mode",
    "RUNTIME_UI_PORT_IN_USE": "ui.port",
    "UI_OUTPUT_DIR_FORBIDDEN": "ui.output_dir",
    "SANDBOX_NOT_WRITABLE": "ui.output_dir",
    "SANDBOX_PATH_OUTSIDE": "dataset",
    "STATE_STORE_INVALID": "home",
}


@dataclass(frozen=True, slots=True)
class Fix:
    """One thing that may be done now.

    Attributes:
        overrides: the settings of a new run, by field name; empty for a resume.
        command: what does it on the command line.
    """

    title: str
    effect: str
    action: Literal["resume", "replay"]
    overrides: Mapping[str, str]
    command: str


@dataclass(frozen=True, slots=True)
class FailureCard:
    """Why a run ended badly, and what helps.

    Attributes:
        message: what happened, one sentence with its figures.
        cause: what the code means.
        setting: the setting that decides over it; empty where none does.
        log: the last lines that the worker printed, redacted by the worker.
    """

    code: str
    message: str
    cause: str
    next_step: str
    setting: str
    safe_title: str
    safe_text: str
    fixes: tuple[Fix, ...]
    log: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the card as plain values."""
        return asdict(self)


def card_of(
    error: ErrorRecord, state: RunState | None = None, spec: TrainSpec | None = None, log: Sequence[str] = ()
) -> FailureCard:
    """Return the card of an error. Pure.

    Args:
        error: what went wrong.
        state: the run that it ended; None when no run was there yet.
        spec: what a training run does.
        log: the last lines of its worker.
    """
    code = error["code"] if error["code"] in CATALOGUE else "INTERNAL"
    setting = SETTING_BY_CODE.get(code) or str(error["details"].get("field", ""))
    fixes: list[Fix] = []
    if state is not None:
        resume = [_resume(state)] if state.status in {"stopped", "failed", "interrupted"} else []
        changes = _changes(code, error["message"], state, spec) if spec is not None else []
        fixes = [*resume, *changes] if error["retryable"] else [*changes, *resume]
    safe_title, safe_text = _safe(state)
    return FailureCard(
        code=code,
        message=error["message"],
        cause=CATALOGUE[code].cause,
        next_step=error["hint"] or CATALOGUE[code].hint,
        setting=setting,
        safe_title=safe_title,
        safe_text=safe_text,
        fixes=tuple(fixes),
        log=tuple(log),
    )


def failure_of(ws: Workspace, prefix: str) -> FailureCard | None:
    """Return the card of a run; None when it did not end badly.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND.
    """
    state = runs.get_run(ws, prefix)
    if state.error is None or state.status not in {"failed", "interrupted"}:
        return None
    spec = RunFolder(Path(state.folder)).spec() if state.kind == "train" else None
    return card_of(state.error, state, spec, runs.log_tail(ws, state.run_id, _LOG_LINES))


def apply_fix(
    ws: Workspace, prefix: str, number: int, *, source: RunSource, start_key: str | None = None
) -> str:
    """Do what a fix of a run's card says and return the id of the run that works now.

    Args:
        number: of the fix, from 0.
        start_key: chosen once per click; the same key gives the same run.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, the run has no such fix.
        BackpropagateError: the run cannot go on, or the new one cannot start; nothing was created.
    """
    card = failure_of(ws, prefix)
    if card is None or isinstance(number, bool) or not 0 <= number < len(card.fixes):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"Run {prefix} has no fix {number}.",
            hint="`backprop show-run RUN_ID` lists what may be done about it.",
        )
    fix = card.fixes[number]
    if fix.action == "resume":
        return runs.resume(ws, prefix).run_id
    layers = replaying.replay_layers(runs.run_detail(ws, prefix), fix.overrides, source=source)
    return training.start(ws, layers, source=source, start_key=start_key).run_id


def _resume(state: RunState) -> Fix:
    command = f"backprop resume {state.short_id}"
    if not state.is_training:
        return Fix("Go on with it", "It keeps what it has made.", "resume", {}, command)
    if not state.checkpoint_step:
        text = "No checkpoint was written yet; it begins at step 1."
        return Fix("Start this run again", text, "resume", {}, command)
    lost = max(0, state.step - state.checkpoint_step)
    again = f"{units.count(lost)} step{'' if lost == 1 else 's'} taken again" if lost else "no step is lost"
    title = f"Resume at step {units.count(state.checkpoint_step)}"
    return Fix(title, f"From the verified checkpoint; {again}.", "resume", {}, command)


def _safe(state: RunState | None) -> tuple[str, str]:
    if state is None:
        return "Nothing was begun", "no file was changed"
    if not state.is_training:
        return "What it works on", "unchanged; nothing half stands under a final name"
    if state.checkpoint_step:
        return f"Checkpoint at step {units.count(state.checkpoint_step)}", "verified when it was written"
    return "Data and settings", "unchanged; no checkpoint was written yet"


def _changes(code: str, message: str, state: RunState, spec: TrainSpec) -> list[Fix]:
    """Return the new runs that would not fail this way, least change first."""
    makers = _CHANGES.get(code, ())
    if code == "RUNTIME_TRAINING_ABORTED" and "memory" in message:
        makers = _LESS_MEMORY
    found = (maker(spec) for maker in makers)
    return [_replay(state, *change) for change in found if change is not None]


_Change = tuple[str, str, dict[str, str]]


def _replay(state: RunState, title: str, effect: str, overrides: dict[str, str]) -> Fix:
    words = " ".join(f"--override {name}={value}" for name, value in overrides.items())
    return Fix(
        title,
        f"{effect} A new run from step 0.",
        "replay",
        overrides,
        f"backprop replay {state.short_id} {words}",
    )


def _smaller_batch(spec: TrainSpec) -> _Change | None:
    batch, accumulation = spec.batch_size, spec.gradient_accumulation
    if not isinstance(batch, int) or not isinstance(accumulation, int) or batch == 1:
        return None
    smaller = next(size for size in range(batch // 2, 0, -1) if batch % size == 0)
    more = accumulation * batch // smaller
    title = f"Batch {batch} to {smaller}, accumulation {accumulation} to {more}"
    overrides = {"batch_size": str(smaller), "gradient_accumulation": str(more)}
    return title, "Same effective batch, less memory, a little slower.", overrides


def _shorter(spec: TrainSpec) -> _Change | None:
    if spec.max_seq_length < 2 * _SHORTEST:
        return None
    half = spec.max_seq_length // 2
    title = f"Length {units.count(spec.max_seq_length)} to {units.count(half)} tokens"
    return title, "Longer rows are cut.", {"max_seq_length": str(half)}


def _lower_rank(spec: TrainSpec) -> _Change | None:
    if spec.mode == "full":
        return _adapter_only(spec)
    if not isinstance(spec.lora_r, int) or spec.lora_r <= _FAST_RANK:
        return None
    return f"Rank {spec.lora_r} to {_FAST_RANK}", "Less room to learn.", {"lora_r": str(_FAST_RANK)}


def _lower_rate(spec: TrainSpec) -> _Change | None:
    lower = spec.learning_rate * _GENTLER
    title = f"Learning rate {units.rate(spec.learning_rate)} to {units.rate(lower)}"
    return title, "Smaller steps, less likely to blow up.", {"learning_rate": f"{lower:.6g}"}


def _on_processor(spec: TrainSpec) -> _Change | None:
    if spec.device == "cpu":
        return None
    return "Device cpu", "Slow; for small models.", {"device": "cpu", "quantization": "none"}


def _adapter_only(spec: TrainSpec) -> _Change | None:
    if spec.mode == "lora":
        return None
    return "Method full to lora", "An adapter beside the frozen model.", {"mode": "lora"}


_LESS_MEMORY: Final = (_smaller_batch, _shorter, _lower_rank)
_CHANGES: Final[dict[str, tuple[Callable[[TrainSpec], _Change | None], ...]]] = {
    "RUNTIME_GPU_OOM": _LESS_MEMORY,
    "RUNTIME_OOM_RECOVERY_EXHAUSTED": (_shorter, _lower_rank),
    "RUNTIME_LOSS_NOT_FINITE": (_lower_rate,),
    "DEP_GPU_NOT_AVAILABLE": (_on_processor,),
    "RUNTIME_FULL_FT_MODEL_TOO_LARGE": (_adapter_only,),
}

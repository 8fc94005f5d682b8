"""Looks up what the planner must know: the machine, the base model, the data, the disk."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Final, TypeVar

from backprop_core.config.preset_shapes import PRESET_CONFIGS
from backprop_core.config.presets import find_preset
from backprop_core.config.resolve import FieldProblem
from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import BackpropagateError, InputError
from backprop_core.hub.cache import find_cached
from backprop_core.hub.download import forecast_download
from backprop_core.hub.model_folder import read_config
from backprop_core.hub.names import understand
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.records import DataFacts, ModelFacts, PlanFacts
from backprop_core.services.calibration import calibration, finished_runs, measured_speed
from backprop_core.services.data_files import data_facts
from backprop_core.services.system import machine_facts
from backprop_core.workspace import Workspace

_T = TypeVar("_T")
_REMEMBERED: Final = 512


class Memo:
    """Remembers answers about files until the files change, so that a form can ask at each key."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the answer for `key`, made when it is not remembered."""
        with self._lock:
            if key in self._values:
                found: _T = self._values[key]
                return found
        made = make()
        with self._lock:
            while len(self._values) >= _REMEMBERED:
                del self._values[next(iter(self._values))]
            self._values[key] = made
        return made

    def peek(self, key: Hashable) -> Any:
        """Return the answer for `key` when it is remembered, else None."""
        with self._lock:
            return self._values.get(key)


def file_version(path: Path) -> tuple[int, int] | None:
    """Return what changes with a file's content: size and time; None when it cannot be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def gather_facts(ws: Workspace, spec: TrainSpec, memo: Memo) -> tuple[PlanFacts, list[FieldProblem]]:
    """Look everything up that a plan for `spec` needs.

    Returns:
        The facts, and what is wrong with model or data, each at its field.
    """
    problems: list[FieldProblem] = []
    model, folder = ModelFacts(name=spec.model), None
    try:
        model, folder = _model_facts(ws, spec.model)
    except BackpropagateError as error:
        problems.append(problem_at("model", error))
    data = None
    try:
        data = _data_facts(spec, folder, memo)
    except BackpropagateError as error:
        problems.append(problem_at("dataset", error))
    disk = _disk(Path(spec.output_dir))
    machine = machine_facts(memo)
    finished = finished_runs(ws)
    facts = PlanFacts(
        machine=machine,
        model=model,
        data=data,
        disk_free_bytes=disk[0],
        disk_total_bytes=disk[1],
        speed=measured_speed(finished, spec, machine),
        calibration=memo.get(
            ("calibration", spec.device, tuple(state.run_id for state in finished)),
            lambda: calibration(finished, spec, machine),
        ),
    )
    return facts, problems


def problem_at(field: str, error: BackpropagateError) -> FieldProblem:
    """Return an error as a message at a field."""
    return FieldProblem(field, error.code, error.message, error.hint)


def model_folder(ws: Workspace, name: str) -> Path | None:
    """Return the folder of a base model that is on this machine, None when it must be fetched first.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when the name can be no model.
    """
    meant = understand(name)
    if meant.kind == "folder":
        folder = Path(meant.value).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError("INPUT_MODEL_NOT_FOUND", f"{name} is no folder with a config.json.")
        return folder
    cached = find_cached(name, ws.settings.cache_dir)
    return cached.path if cached is not None else None


def _model_facts(ws: Workspace, name: str) -> tuple[ModelFacts, Path | None]:
    forecast = forecast_download(name, cache_dir=ws.settings.cache_dir)
    folder = model_folder(ws, name)
    preset = find_preset(name)
    shape = None
    if folder is not None:
        shape = ModelShape.from_config(read_config(folder))
    elif preset is not None and preset.key in PRESET_CONFIGS:
        shape = ModelShape.from_config(PRESET_CONFIGS[preset.key])
    facts = ModelFacts(
        name=name,
        shape=shape,
        source="cache" if forecast.source == "none" else forecast.source,
        download_bytes=forecast.bytes if forecast.needed else 0,
        licence=preset.licence if preset else "",
        licence_note=preset.licence_note if preset else "",
    )
    return facts, folder


def _data_facts(spec: TrainSpec, folder: Path | None, memo: Memo) -> DataFacts | None:
    if not spec.dataset:
        return None
    path = Path(spec.dataset).expanduser()
    key = ("data", str(path), file_version(path), str(folder), spec.max_seq_length, spec.train_on_responses)

    def look() -> DataFacts:
        tokenizer = (
            memo.get(("tokenizer", str(folder)), lambda: ChatTokenizer.load(folder)) if folder else None
        )
        return data_facts(
            path, tokenizer, max_seq_length=spec.max_seq_length, responses_only=spec.train_on_responses
        )

    facts = memo.get(key, look)
    rows = min(spec.samples or facts.usable_rows, facts.usable_rows)
    learned = max(1, round(rows * (1 - spec.eval_split)))
    if learned < facts.usable_rows:
        return _share_of(facts, learned)
    return facts


def _share_of(facts: DataFacts, rows: int) -> DataFacts:
    """Return the figures of so many of the rows."""
    share = rows / facts.usable_rows
    return dataclasses.replace(
        facts,
        rows=rows,
        usable_rows=rows,
        tokens=round(facts.tokens * share),
        supervised_tokens=round(facts.supervised_tokens * share),
        truncated_rows=round(facts.truncated_rows * share),
        is_estimate=True,
    )


def _disk(folder: Path) -> tuple[int | None, int | None]:
    folder = folder.expanduser()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None, None
    return usage.free, usage.total

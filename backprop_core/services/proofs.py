"""Repeats the proof of an exported file, in a process of its own, from what the report beside it tells."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core import files
from backprop_core.config.exports import gguf_parts, report_path
from backprop_core.config.proofs import Proof, ProofCheck, ProofSpec
from backprop_core.errors import BackpropagateError, InputError, RunError, error_from_record
from backprop_core.gguf import check_gguf
from backprop_core.jobs.launcher import worker_environment
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.runs.store import RunSource
from backprop_core.services import exports, jobs, runs
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace

_MODULE: Final = "backprop_core.engine.proof"
_WEIGHTS: Final = "adapter_model.safetensors"
_LOG_TAIL: Final = 300


@dataclass(frozen=True, slots=True)
class Origin:
    """What an exported file was made from; `adapter` is None for a whole model."""

    model: Path
    adapter: Path | None


def prove(ws: Workspace, path: Path, *, on_check: Callable[[ProofCheck], None] | None = None) -> Proof:
    """Compare an exported file with the trained model and put the result beside it.

    Args:
        path: a GGUF file, or a folder that `ollama-adapter` made.
        on_check: receives each check when it is done.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND or INPUT_VALIDATION_FAILED: the file, its report, base or adapter
            is gone or is another one.
        RunError: RUNTIME_EXPORT_PROOF_FAILED, the proof itself broke off.
    """
    path = path.expanduser().absolute()
    origin = find_origin(ws, path)
    order = {"path": str(path), "model": str(origin.model), "adapter": str(origin.adapter or "")}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
        )
        try:
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(order) + b"\n")
            process.stdin.flush()
            for kind, value in _told(process):
                if kind == "check" and on_check is not None:
                    on_check(ProofCheck.model_validate(value))
                if kind == "error":
                    raise error_from_record(value)
                if kind == "proof":
                    return Proof.model_validate(value)
        finally:
            process.kill()
            process.communicate()
        log.seek(0)
        last = log.read().decode(errors="replace").strip()[-_LOG_TAIL:]
    raise RunError("RUNTIME_EXPORT_PROOF_FAILED", f"The proof of {path.name} broke off. {last}")


def start(ws: Workspace, path: Path, *, face: RunSource, start_key: str | None = None) -> str:
    """Put the proof of an exported file into the queue and return the id of its job.

    Raises:
        InputError: see `prove`; nothing was created.
    """
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        return known
    path = path.expanduser().absolute()
    origin = find_origin(ws, path)
    spec = ProofSpec(
        path=str(path), model=str(origin.model), adapter=str(origin.adapter) if origin.adapter else None
    )
    return jobs.submit(ws, jobs.create(ws, "proof", path.name, spec, face=face, is_detached=True), start_key)


def start_for_export(ws: Workspace, job_id: str, *, face: RunSource) -> str:
    """Put the proof of what an export job made into the queue; one that waits or works is returned instead.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, it made nothing, or it is gone; see `prove` for the others.
    """
    state = runs.get_run(ws, job_id)
    made = exports.finished(state) if state.kind == "export" else None
    if made is None:
        raise InputError("INPUT_RUN_NOT_FOUND", f"The export {job_id[:40]!r} has no file to prove.")
    known = _unfinished(ws, made.path)
    return known.run_id if known is not None else start(ws, made.path, face=face)


def is_proving(ws: Workspace, path: Path) -> bool:
    """Return whether a proof of a file waits or works; that inside its export counts, too."""
    return _unfinished(ws, path) is not None


def _unfinished(ws: Workspace, path: Path) -> RunState | None:
    rows = ws.database.list(statuses=("queued", *sorted(ACTIVE)), kind="proof", limit=20)
    return next((row.state for row in rows if row.state.model == str(path)), None)


def find_origin(ws: Workspace, path: Path) -> Origin:
    """Return the folders that an export was made from.

    Raises:
        InputError: the file, its report, base or adapter is gone, or the adapter is another one by now.
    """
    if not path.exists():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} does not exist.")
    source, base = _named_origin(path)
    if base is None:
        return Origin(_folder(source, path, "model"), None)
    model = model_folder(ws, base)
    if model is None:
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"The base model {base!r} of {path.name} is not on this machine.",
            hint=f"Fetch it with `backprop models download {base}`.",
        )
    adapter = _folder(source, path, "adapter")
    _require_same_adapter(path, adapter)
    return Origin(model, adapter)


def _named_origin(path: Path) -> tuple[str, str | None]:
    """Return the source and the base model that the report beside an export names."""
    report_file = report_path(path)
    try:
        report = files.read_json(report_file)
        source, base = report["source"], report["base_model"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{report_file} is missing, damaged or too old; it tells what {path.name} was made from.",
            hint="Keep the report beside the file, or export again.",
        ) from error
    if not isinstance(source, str) or not isinstance(base, str | None):
        raise InputError("INPUT_VALIDATION_FAILED", f"{report_file} is no report of an export.")
    return source, base


def _folder(source: str, path: Path, word: str) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"The {word} {source} that {path.name} was made from is gone.",
            hint="Put the folder back; without it there is nothing to compare the file with.",
        )
    return folder


def _require_same_adapter(path: Path, adapter: Path) -> None:
    """Refuse to compare with an adapter that was trained again; an unsound file is the proof's to judge."""
    model, lora = gguf_parts(path)
    try:
        named = check_gguf(lora or model).metadata.get("backpropagate.adapter_sha256")
    except BackpropagateError:
        return
    weights = adapter / _WEIGHTS
    if named is not None and weights.is_file() and files.sha256_of(weights) != named:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The adapter {adapter} is another one than that {path.name} was made from.",
            hint="It was trained again since; export again.",
        )


def _environment() -> dict[str, str]:
    return worker_environment(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}


def _told(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield what the process tells; lines that a library printed are passed over."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and len(value) == 1:
            yield next(iter(value.items()))

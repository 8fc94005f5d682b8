"""What a run's page knows of the run's worth: the evaluation, its job, and the proof of its newest export."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views.evaluations import EvalView, eval_view
from backprop_app.views.export import JobView, job_view
from backprop_app.views.proofs import ProofView, proof_view
from backprop_core.config.evaluations import read_evaluation
from backprop_core.config.proofs import read_proof
from backprop_core.errors import BackpropagateError
from backprop_core.services import evaluations, exports, proofs, runs
from backprop_core.services.evaluations import EvalRequest

_LOOK_EVERY_S: Final = 1.0
_DATA_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What the services know about a run."""

    evaluation: EvalView
    job: JobView
    problem: str
    proof: ProofView
    is_proving: bool
    held_out: bool


class JudgeState(rx.State):
    """Whether the run helped, and whether its file answers as it did."""

    evaluation: EvalView = EvalView()
    job: JobView = JobView()
    proof: ProofView = ProofView()
    is_proving: bool = False
    held_out: bool = False
    data: str = ""
    problem: str = ""
    is_starting: bool = False
    _run_id: str = ""
    _failed_job: str = ""

    @rx.event
    def set_data(self, value: str) -> None:
        """Name the held-out file; empty for the rows that the run held out."""
        self.data = value.strip()[:_DATA_LENGTH]
        self.problem = ""

    @rx.event(background=True)
    async def start_evaluation(self) -> None:
        """Compare the run with its base."""
        async with self:
            if self.is_starting or not self._run_id:
                return
            self.is_starting, self.problem = True, ""
            request = EvalRequest(self._run_id, data=Path(self.data) if self.data else None)
        try:
            job = await asyncio.to_thread(
                evaluations.start, current().ws, request, face="page", start_key=uuid.uuid4().hex
            )
        except BackpropagateError as error:
            async with self:
                self.is_starting, self.problem = False, error.message
            return
        await audit.note(self, "eval.start", run_id=job)
        async with self:
            self.is_starting = False

    @rx.event(background=True)
    async def stop_evaluation(self) -> Any:
        """Cancel the evaluation that works."""
        async with self:
            job = self.job.job_id
        try:
            await asyncio.to_thread(runs.stop, current().ws, job)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "eval.stop", run_id=job)
        return None

    @rx.event(background=True)
    async def start_proof(self) -> Any:
        """Prove the newest export of the run again."""
        async with self:
            job = self.proof.job_id
        try:
            made = await asyncio.to_thread(proofs.start_for_export, current().ws, job, face="page")
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "proof.start", run_id=made)
        return None

    @rx.event(background=True)
    async def watch(self) -> None:
        """Keep both cards true until the page is left."""
        runtime = current()
        async with self:
            prefix = str(self.router.url.path).rstrip("/").rpartition("/")[2]
            if not (self._run_id and self._run_id.startswith(prefix)):
                self._run_id = ""
                assign(self, evaluation=EvalView(), job=JobView(), proof=ProofView(), problem="", data="")
        try:
            state = await asyncio.to_thread(runs.get_run, runtime.ws, prefix)
        except BackpropagateError:
            return
        async with self:
            self._run_id = state.run_id
        while True:
            found = await asyncio.to_thread(_look, runtime, state.run_id)
            async with self:
                values = {name: getattr(found, name) for name in ("evaluation", "job", "proof", "is_proving")}
                assign(self, held_out=found.held_out, **values)
                if found.problem and found.job.job_id != self._failed_job:
                    self._failed_job, self.problem = found.job.job_id, found.problem
            await asyncio.sleep(_LOOK_EVERY_S)


def _look(runtime: Runtime, run_id: str) -> _Judgement:
    """Return how a run is judged now."""
    ws = runtime.ws
    job = evaluations.newest_job(ws, run_id)
    done = evaluations.newest_evaluation(ws, run_id)
    found = read_evaluation(Path(done.folder)) if done is not None else None
    made = next((export for export in exports.list_finished(ws) if export.spec.run_id == run_id), None)
    provable = made is not None and made.spec.quantization is not None
    return _Judgement(
        evaluation=eval_view(found) if found is not None else EvalView(),
        job=job_view(job) if job is not None else JobView(),
        problem=job.error["message"] if job is not None and job.error else "",
        proof=proof_view(made, read_proof(made.path)) if made is not None and provable else ProofView(),
        is_proving=made is not None and proofs.is_proving(ws, made.path),
        held_out=runs.run_detail(ws, run_id).training.eval_split > 0,
    )

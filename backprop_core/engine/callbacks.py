"""What happens between two optimizer steps: metrics, checkpoints, the user's wishes, the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backprop_core.engine.collating import Row
from backprop_core.engine.context import RunContext
from backprop_core.engine.devices import Device
from backprop_core.engine.evaluation import held_out_loss, is_better
from backprop_core.engine.keeping import Keeper, Saved, Tally
from backprop_core.engine.samples import answer
from backprop_core.engine.sampling import RowOrder
from backprop_core.engine.spilling import SpillWatch
from backprop_core.engine.stop_rules import Stop, after_measure, budget_stop, held_out_stop
from backprop_core.engine.thermal import MAX_PAUSES, Heat, HeatJudge
from backprop_core.engine.trackers import Trackers
from backprop_core.engine.trainer import StepFacts
from backprop_core.errors import RunError
from backprop_core.events.types import Evaluated, Metrics, RunContinued, RunPaused, SampleAnswered

_MAX_NOT_FINITE: Final = 3


def must_rehearse(device: Device) -> bool:
    """Return whether the heaviest step is tried before the first: a processor has no memory of its own."""
    return device.is_cuda


class StepReporter(TrainerCallback):  # type: ignore[misc]
    """Journals each step and reads the user's wishes at its end.

    `trainer` is set once the trainer exists; it supplies the facts of the newest step.

    Args:
        saved: the checkpoint that the attempt goes on from, if any.
        held_out: rows that measure each scheduled step; none when empty.
        trackers: get the figures of each step too.
        first_step: steps of the run before those of this trainer.
        last_step: the trainer's last one; `total_steps` is the run's.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        device: Device,
        order: RowOrder,
        first_step: int,
        last_step: int,
        total_steps: int,
        tally: Tally,
        keeper: Keeper,
        saved: Saved | None,
        held_out: Sequence[Row] = (),
        trackers: Trackers | None = None,
    ) -> None:
        self._context = context
        self._device = device
        self._order = order
        self._first_step = first_step
        self._last_step = last_step
        self._total_steps = total_steps
        self._tally = tally
        self._keeper = keeper
        self._saved = saved
        self._held_out = held_out
        self._began = 0.0
        if context.position.learning_since is None:
            context.position.learning_since = context.clock.monotonic()
        self._trackers = trackers
        self._spill = SpillWatch()
        self._heat = HeatJudge()
        self._heat_seq = 0
        self._heat_pauses = 0
        self.trainer: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Go on from the checkpoint; optimizer and schedule exist from here on."""
        if self._saved is not None:
            self._keeper.restore(self._saved, self.trainer)
            state.global_step = self._saved.loop.step
        else:
            state.global_step = self._first_step
        if must_rehearse(self._device):
            self.trainer.rehearse()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note when the step began."""
        self._began = self._context.clock.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Journal the step, then do what the user or the system wants.

        Raises:
            RunError: RUNTIME_LOSS_NOT_FINITE after three such steps in a row.
        """
        step, facts = state.global_step, self.trainer.step_facts
        self._context.position.step = step
        self._journal(step, facts)
        self._watch_finite(step, facts)
        is_best = self._evaluate(step)
        self._sample(step)
        if step == self._last_step:
            return
        if is_best or (facts.is_finite and self._keeper.is_due(step)):
            self._keeper.save(step, self.trainer, is_best=is_best)
        self._obey(step, control)

    def _journal(self, step: int, facts: StepFacts) -> None:
        seconds = max(self._context.clock.monotonic() - self._began, 1e-9)
        self._tally.tokens += facts.tokens
        self._tally.supervised_tokens += facts.supervised_tokens
        metrics = Metrics(
            step=step,
            total_steps=self._total_steps,
            epoch=round(self._order.epochs_after(step), 4),
            loss=facts.loss if facts.is_finite else None,
            learning_rate=facts.learning_rate,
            grad_norm=facts.grad_norm if facts.is_finite else None,
            tokens=self._tally.tokens,
            supervised_tokens=self._tally.supervised_tokens,
            tokens_per_s=round(facts.tokens / seconds, 2),
            step_s=round(seconds, 4),
            memory_bytes=self._device.memory_bytes(),
        )
        self._context.journal.append(metrics)
        self._watch_spill(metrics, facts.tokens)
        if self._trackers is not None:
            values = metrics.model_dump(exclude={"type", "step", "total_steps"}, exclude_none=True)
            self._trackers.report(self.trainer, values)

    def _watch_spill(self, metrics: Metrics, tokens: int) -> None:
        sample = self._context.sampler.latest()
        if sample is None or not self._device.is_cuda:
            return
        gpu = sample.gpu
        if self._spill.sees_spill(
            step_s=metrics.step_s,
            tokens=tokens,
            used_bytes=gpu.memory_used_bytes,
            total_bytes=gpu.memory_total_bytes,
        ):
            self._context.notice(
                f"Step {metrics.step} was far slower and the card is full: its driver seems to use the "
                "system's memory. A smaller batch, or switching that off in the driver, is faster.",
                is_warning=True,
            )

    def _watch_finite(self, step: int, facts: StepFacts) -> None:
        is_sound = facts.is_finite or facts.has_overflown
        self._tally.not_finite = 0 if is_sound else self._tally.not_finite + 1
        if self._tally.not_finite >= _MAX_NOT_FINITE:
            raise RunError(
                "RUNTIME_LOSS_NOT_FINITE",
                f"Loss or gradient was not a finite number in steps {step - _MAX_NOT_FINITE + 1} to {step}.",
            )

    def _evaluate(self, step: int) -> bool:
        """Measure the held-out rows where that is due; return whether no step was better before."""
        if not self._held_out or not (self._keeper.is_scheduled(step) or step == self._last_step):
            return False
        loss = held_out_loss(self.trainer, self._held_out)
        spec, tally = self._context.spec, self._tally
        is_best = is_better(loss, tally.best_loss)
        if is_best:
            tally.best_loss, tally.best_step = loss, step
        tally.trend = after_measure(tally.trend, loss, tally.best_loss, spec.divergence_limit)
        if step < self._last_step:
            tally.stop = held_out_stop(spec, tally.trend, loss, tally.best_loss)
        self._context.journal.append(
            Evaluated(step=step, loss=loss if math.isfinite(loss) else None, rows=len(self._held_out))
        )
        if self._trackers is not None and math.isfinite(loss):
            self._trackers.report(self.trainer, {"eval_loss": loss})
        return is_best

    def _sample(self, step: int) -> None:
        """Let the model answer the run's fixed question where that is due."""
        question = self._context.spec.sample_prompt
        if question is None or not (self._keeper.is_scheduled(step) or step == self._last_step):
            return
        text = answer(self.trainer, question)
        self._context.journal.append(SampleAnswered(step=step, prompt=question, text=text))

    def _obey(self, step: int, control: TrainerControl) -> None:
        watch = self._context.control
        if watch.request() == "pause":
            self._pause(step, "the user paused the run", "", lambda: watch.request() != "pause")
        if self._context.spec.pause_on_overheat and self._judged_heat().must_pause:
            self._cool_down(step)
        if watch.is_interrupted:
            self._tally.ending = "interrupted"
        elif watch.request() == "stop":
            self._tally.ending, self._tally.stop = "stopped", None
        elif self._judged_rules() is not None:
            self._tally.ending = "stopped"
        if self._tally.ending in ("interrupted", "stopped"):
            self._keeper.save(step, self.trainer)
        control.should_training_stop = control.should_training_stop or self._tally.ending is not None

    def _judged_rules(self) -> Stop | None:
        """Return the rule of the run that is met at this step, if one is."""
        began = self._context.position.learning_since or 0.0
        seconds = self._context.clock.monotonic() - began
        self._tally.stop = self._tally.stop or budget_stop(self._context.spec, seconds)
        return self._tally.stop

    def _pause(self, step: int, reason: str, code: str, may_go_on: Callable[[], bool]) -> None:
        """Hold the step until it may go on, or the run shall end."""
        watch = self._context.control
        self._context.journal.append(RunPaused(step=step, reason=reason, code=code))
        while not (may_go_on() or watch.is_interrupted or watch.request() == "stop"):
            watch.wait()
        if not watch.is_interrupted and watch.request() != "stop":
            self._context.journal.append(RunContinued(step=step))

    def _cool_down(self, step: int) -> None:
        """Save, then wait for the card; give up when pauses do not help.

        Raises:
            RunError: RUNTIME_GPU_TEMPERATURE_CRITICAL after as many pauses as are allowed.
        """
        self._keeper.save(step, self.trainer)
        margin = self._heat.margin_c
        state = "slowed down by heat" if margin is None else f"{margin:.0f} °C below its slowdown temperature"
        if self._heat_pauses >= MAX_PAUSES:
            raise RunError(
                "RUNTIME_GPU_TEMPERATURE_CRITICAL",
                f"The card is {state} in step {step}, after {MAX_PAUSES} pauses.",
            )
        self._heat_pauses += 1
        code = "RUNTIME_GPU_TEMPERATURE_CRITICAL"
        self._pause(step, f"the card is {state}", code, lambda: self._judged_heat().may_continue)

    def _judged_heat(self) -> HeatJudge:
        for sample in self._context.sampler.since(self._heat_seq):
            self._heat_seq = sample.seq
            self._heat.see(Heat(sample.mono, sample.gpu.margin_c, sample.gpu.is_heat_limited))
        return self._heat

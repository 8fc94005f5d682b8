"""The recipe of a supervised fine-tune, read from top to bottom: load, adapt, tokenize, fit, save."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.artifacts import save_result
from backprop_core.engine.backends import Backend
from backprop_core.engine.callbacks import StepReporter
from backprop_core.engine.choices import choose
from backprop_core.engine.context import RunContext
from backprop_core.engine.cutting import Cut
from backprop_core.engine.devices import Device, select_device
from backprop_core.engine.keeping import Keeper, Saved, Tally, find_saved, identity_of, require_same
from backprop_core.engine.loading import BaseModel, fetch_base
from backprop_core.engine.methods import Learner, make_learner, trained_parameters
from backprop_core.engine.oom import Cutter
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.sampling import RowOrder
from backprop_core.engine.schedules import learning_rate_factor, warmup_steps
from backprop_core.engine.tokenizing import TrainingData, read_training_data
from backprop_core.engine.trackers import Trackers, chosen_trackers
from backprop_core.engine.trainer import RunTrainer, StepBatches, training_arguments
from backprop_core.engine.training_state import load_weights
from backprop_core.events.types import TrainingPlanned
from backprop_core.planning.batch import micro_batch_tokens
from backprop_core.planning.records import Choices


@dataclass(frozen=True, slots=True)
class Ground:
    """What an attempt stands on before any weight is loaded."""

    device: Device
    base: BaseModel
    data: TrainingData
    chosen: Choices
    saved: Saved | None
    trackers: list[str]

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step."""
        return self.chosen.batch_size * self.chosen.gradient_accumulation


@dataclass(frozen=True, slots=True)
class Stretch:
    """The steps of the run that one trainer takes, all of them or those of a leg.

    Attributes:
        first_step, last_step: steps before the first one, and the last one; the run has `total_steps`.
    """

    first_step: int
    last_step: int
    total_steps: int
    learning_rate: float
    seed: int

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return self.last_step - self.first_step


def run_sft(context: RunContext, backend: Backend) -> Outcome:
    """Fine-tune as the spec of the run says, from the newest checkpoint if an earlier attempt left one.

    Raises:
        BackpropagateError: with the code of what went wrong.
        AttemptEnded: the run was stopped before its first step.
    """
    trackers = chosen_trackers(context.spec.report_to)
    saved = find_saved(context)
    device = select_device(context.spec.device)
    base = fetch_base(context)
    data = read_training_data(context, base.resolved.path)
    identity = identity_of(context, base.resolved, data.sha256)
    require_same(saved, identity)
    chosen = saved.loop.chosen() if saved else choose(context.spec, base, data, device, context.folder.path)
    ground = Ground(device, base, data, chosen, saved, trackers)
    learner = make_learner(context, backend, base, device, chosen)
    if saved:
        load_weights(learner.model, saved.folder)
    tally = Tally()
    keeper = Keeper(context, identity, chosen, tally, is_sparing=is_free(context, "checkpoint_every"))
    steps = chosen.steps
    stretch = Stretch(0, steps, steps, context.spec.learning_rate, context.spec.seed)
    trainer = build_trainer(context, ground, learner, keeper, tally, stretch)
    announce(context, ground, learner)
    context.phase("training")
    with context.busy():
        trainer.train()
        if tally.ending == "interrupted":
            return Outcome("interrupted", "")
        context.phase("saving")
        keeper.load_best(trainer)
        artifact = save_result(context, learner, base.tokenizer)
    if tally.stop is not None:
        return Outcome("stopped", artifact, tally.stop.rule, tally.stop.reason)
    return Outcome("stopped" if tally.ending == "stopped" else "completed", artifact)


def is_free(context: RunContext, field: str) -> bool:
    """Return whether nobody chose the value of a field."""
    is_auto = getattr(context.spec, field) == "auto"
    return is_auto or context.folder.origins()[field].source in {"default", "derived"}


def build_trainer(
    context: RunContext, ground: Ground, learner: Learner, keeper: Keeper, tally: Tally, stretch: Stretch
) -> RunTrainer:
    """Return the trainer of some steps of the run with its reporter attached."""
    spec, chosen, saved = context.spec, ground.chosen, ground.saved
    order = RowOrder(len(ground.data.rows), ground.rows_per_step, stretch.seed, stretch.first_step)
    trackers = Trackers(context, ground.trackers) if ground.trackers else None
    reporter = StepReporter(
        context,
        device=ground.device,
        order=order,
        first_step=stretch.first_step,
        last_step=stretch.last_step,
        total_steps=stretch.total_steps,
        tally=tally,
        keeper=keeper,
        saved=saved,
        held_out=ground.data.held_out,
        trackers=trackers,
    )
    cut = saved.loop.cut if saved else first_cut(spec, ground)
    trainer = RunTrainer(
        model=learner.model,
        arguments=training_arguments(
            str(context.folder.path),
            run_name=context.info.run_id,
            steps=stretch.last_step,
            learning_rate=stretch.learning_rate,
            weight_decay=spec.weight_decay,
            max_grad_norm=spec.max_grad_norm,
            optim=chosen.optim,
            is_cpu=not ground.device.is_cuda,
            seed=stretch.seed,
        ),
        tokenizer=ground.base.tokenizer,
        batches=StepBatches(
            ground.data.rows, order, saved.loop.step if saved else stretch.first_step, stretch.last_step
        ),
        cutter=Cutter(context, cut, batch_size=chosen.batch_size, may_split=spec.oom_recovery),
        schedule=partial(
            learning_rate_factor,
            steps=stretch.steps,
            warmup=warmup_steps(spec.warmup_ratio, stretch.steps),
            schedule=spec.lr_scheduler,
        ),
        compute_dtype=ground.device.dtype,
        callbacks=[callback for callback in (trackers, reporter) if callback is not None],
    )
    reporter.trainer = trainer
    return trainer


def first_cut(spec: TrainSpec, ground: Ground) -> Cut:
    """Return how steps are cut until memory runs out."""
    recomputes = ground.chosen.gradient_checkpointing == "on"
    if not spec.packing:
        return Cut(ground.chosen.batch_size, None, recomputes=recomputes)
    longest = max(row.length for row in ground.data.rows)
    tokens = micro_batch_tokens(ground.chosen.device, ground.chosen.batch_size, longest)
    return Cut(None, tokens, recomputes=recomputes)


def announce(context: RunContext, ground: Ground, learner: Learner) -> None:
    """Journal what was derived before the first step."""
    data, chosen = ground.data, ground.chosen
    if data.unusable and data.first_problem is not None:
        problem = data.first_problem
        context.notice(
            f"{data.unusable:,} rows cannot be used; the first is row {problem.row}: {problem.reason}.",
            is_warning=True,
        )
    epochs = chosen.steps * ground.rows_per_step / len(data.rows)
    context.journal.append(
        TrainingPlanned(
            total_steps=chosen.steps,
            epochs=round(epochs, 4),
            rows=len(data.rows),
            micro_batch=chosen.batch_size,
            accumulation=chosen.gradient_accumulation,
            trainable_parameters=trained_parameters(learner.model),
            lora_r=learner.r,
            lora_alpha=learner.alpha,
            tokens=data.tokens,
            supervised_tokens=data.supervised_tokens,
        )
    )

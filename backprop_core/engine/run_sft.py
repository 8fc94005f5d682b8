"""The recipe of a supervised fine-tune, read from top to bottom: load, adapt, tokenize, fit, save."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.adapters import add_adapter
from backprop_core.engine.artifacts import save_adapter
from backprop_core.engine.callbacks import StepReporter
from backprop_core.engine.choices import choose
from backprop_core.engine.context import RunContext
from backprop_core.engine.cutting import Cut
from backprop_core.engine.devices import Device, select_device
from backprop_core.engine.keeping import Keeper, Tally, find_saved, identity_of, require_same
from backprop_core.engine.loading import count_parameters, fetch_base, load_model
from backprop_core.engine.oom import Cutter
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.sampling import RowOrder
from backprop_core.engine.schedules import learning_rate_factor, warmup_steps
from backprop_core.engine.tokenizing import TrainingData, read_training_data
from backprop_core.engine.trainer import RunTrainer, StepBatches, training_arguments
from backprop_core.engine.training_state import load_weights
from backprop_core.events.types import TrainingPlanned
from backprop_core.planning.records import Choices

# Tokens of a micro-batch that a processor works through fastest.
CPU_TOKENS: Final = 1024


def run_sft(context: RunContext) -> Outcome:
    """Fine-tune as the spec of the run says, from the newest checkpoint if an earlier attempt left one.

    Raises:
        BackpropagateError: with the code of what went wrong.
        AttemptEnded: the run was stopped before its first step.
    """
    spec = context.spec
    device = select_device(spec.device)
    saved = find_saved(context)
    base = fetch_base(context)
    data = read_training_data(context, base.resolved.path)
    identity = identity_of(context, base.resolved, data.sha256)
    require_same(saved, identity)
    chosen = saved.loop.chosen() if saved else choose(spec, base, data, device, context.folder.path)
    model = load_model(context, base, device)
    model = add_adapter(model, spec, r=chosen.lora_r, alpha=chosen.lora_alpha, base_reference=base.reference)
    if saved:
        load_weights(model, saved.folder)
    tally = Tally()
    keeper = Keeper(context, identity, chosen, tally, is_sparing=spec.checkpoint_every == "auto")
    order = RowOrder(len(data.rows), chosen.batch_size * chosen.gradient_accumulation, spec.seed)
    reporter = StepReporter(
        context,
        device=device,
        order=order,
        total_steps=chosen.steps,
        tally=tally,
        keeper=keeper,
        saved=saved,
    )
    batches = StepBatches(data.rows, order, saved.loop.step if saved else 0, chosen.steps)
    cut = saved.loop.cut if saved else first_cut(spec, chosen, data, device)
    cutter = Cutter(context, cut, batch_size=chosen.batch_size, may_split=spec.oom_recovery)
    trainer = build_trainer(context, model, base.tokenizer, batches, chosen, device, cutter, reporter)
    announce(context, data, chosen, count_parameters(model))
    context.phase("training")
    with context.busy():
        trainer.train()
        if tally.ending == "interrupted":
            return Outcome("interrupted", "")
        context.phase("saving")
        artifact = save_adapter(context, model, base.tokenizer)
    return Outcome(tally.ending or "completed", artifact)


def build_trainer(
    context: RunContext,
    model: Any,
    tokenizer: Any,
    batches: StepBatches,
    chosen: Choices,
    device: Device,
    cutter: Cutter,
    reporter: StepReporter,
) -> RunTrainer:
    """Return the trainer of the run with its reporter attached."""
    spec = context.spec
    trainer = RunTrainer(
        model=model,
        arguments=training_arguments(
            str(context.folder.path),
            steps=chosen.steps,
            learning_rate=spec.learning_rate,
            weight_decay=spec.weight_decay,
            max_grad_norm=spec.max_grad_norm,
            optim=chosen.optim,
            is_cpu=not device.is_cuda,
            seed=spec.seed,
        ),
        tokenizer=tokenizer,
        batches=batches,
        cutter=cutter,
        schedule=partial(
            learning_rate_factor,
            steps=chosen.steps,
            warmup=warmup_steps(spec.warmup_ratio, chosen.steps),
            schedule=spec.lr_scheduler,
        ),
        compute_dtype=device.dtype,
        callbacks=[reporter],
    )
    reporter.trainer = trainer
    return trainer


def first_cut(spec: TrainSpec, chosen: Choices, data: TrainingData, device: Device) -> Cut:
    """Return how steps are cut until memory runs out.

    Packed micro-batches hold as many tokens as `batch_size` of the longest rows would; a processor
    is fastest with less.
    """
    recomputes = chosen.gradient_checkpointing == "on"
    if not spec.packing:
        return Cut(chosen.batch_size, None, recomputes=recomputes)
    longest = max(row.length for row in data.rows)
    tokens = chosen.batch_size * longest
    return Cut(
        None,
        tokens if device.is_cuda else min(tokens, max(longest, CPU_TOKENS)),
        recomputes=recomputes,
    )


def announce(context: RunContext, data: TrainingData, chosen: Choices, trainable: int) -> None:
    """Journal what was derived before the first step."""
    if data.unusable and data.first_problem is not None:
        problem = data.first_problem
        context.notice(
            f"{data.unusable:,} rows cannot be used; the first is row {problem.row}: {problem.reason}.",
            is_warning=True,
        )
    epochs = chosen.steps * chosen.batch_size * chosen.gradient_accumulation / len(data.rows)
    context.journal.append(
        TrainingPlanned(
            total_steps=chosen.steps,
            epochs=round(epochs, 4),
            rows=len(data.rows),
            micro_batch=chosen.batch_size,
            accumulation=chosen.gradient_accumulation,
            trainable_parameters=trainable,
            lora_r=chosen.lora_r,
            lora_alpha=chosen.lora_alpha,
            tokens=data.tokens,
            supervised_tokens=data.supervised_tokens,
        )
    )

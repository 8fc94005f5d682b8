"""The recipe of a campaign: one base in memory, leg after leg learned, measured, merged, committed.

A leg is trained by the same trainer as a run. What is committed stands in `legs/state.json`, which a merge
replaces as a whole; whatever was begun beyond it is found again or done again, and ends the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
from torch import Tensor

from backprop_core.config.campaigns import CampaignSpec
from backprop_core.engine import slao
from backprop_core.engine.backends import Backend
from backprop_core.engine.choices import choose
from backprop_core.engine.context import RunContext
from backprop_core.engine.devices import Device, select_device
from backprop_core.engine.evaluation import held_out_exact, held_out_loss
from backprop_core.engine.keeping import Keeper, Saved, Tally, find_saved, identity_of, require_same
from backprop_core.engine.leg_adapters import (
    merge_into,
    put_into,
    read_adapter,
    read_facts,
    save_own,
    weights_of,
)
from backprop_core.engine.leg_rows import LegRows, all_rows, prepare_legs, training_rows
from backprop_core.engine.loading import BaseModel, fetch_base
from backprop_core.engine.methods import Learner, make_learner
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.run_sft import Ground, Stretch, announce, build_trainer, is_free
from backprop_core.engine.tokenizing import TrainingData
from backprop_core.engine.trackers import chosen_trackers
from backprop_core.engine.trainer import RunTrainer
from backprop_core.engine.training_state import load_weights
from backprop_core.events.types import ForgetRow, LegChosen, LegEnded, LegMerged, LegStarted
from backprop_core.planning.batch import Batch, run_length
from backprop_core.planning.records import Choices
from backprop_core.runs.campaigns import CampaignMemory, LegRecord
from backprop_core.runs.leg_files import LegFiles


@dataclass(slots=True)
class Work:
    """Everything that the legs of one attempt share.

    Attributes:
        ends: step of the run at which each leg ends.
        fresh: the adapter before the first leg.
        memory: what is committed; replaced by each merge.
        tally: counts of the whole run.
    """

    context: RunContext
    spec: CampaignSpec
    places: LegFiles
    device: Device
    base: BaseModel
    chosen: Choices
    learner: Learner
    legs: list[LegRows]
    data: list[tuple[Any, ...]]
    ends: list[int]
    fresh: dict[str, Tensor]
    trackers: list[str]
    memory: CampaignMemory
    tally: Tally = field(default_factory=Tally)

    def rows_of(self, number: int) -> TrainingData:
        """Return what a leg trains on, with the digest of everything that led there."""
        earlier = self.legs[:number]
        digest = hashlib.sha256("".join(leg.sha256 for leg in earlier).encode()).hexdigest()
        return TrainingData(self.data[number - 1], (), digest, 0, None, 0, 0)

    def commit(self, memory: CampaignMemory) -> None:
        """Commit what is known now and let the campaign's adapter follow."""
        is_new = memory.product != self.memory.product
        self.places.commit(memory)
        self.memory = memory
        if is_new and memory.product:
            self.context.journal.append(LegChosen(leg=memory.product))
        self.places.place_product(memory, self.context.info.publish_to)


def run_multi(context: RunContext, backend: Backend) -> Outcome:
    """Work on a campaign as its spec says, from where an earlier attempt left it.

    Raises:
        BackpropagateError: with the code of what went wrong; what was committed stands.
        AttemptEnded: the campaign was stopped outside a leg.
    """
    work = _open(context, backend)
    work.places.place_product(work.memory, context.info.publish_to)
    total = len(work.legs)
    saved = find_saved(context, after=_kept_step(work))
    announce(context, _ground(work, all_rows(work.legs), total, None), work.learner)
    with context.busy():
        for number in range(work.memory.done + 1, total + 1):
            ending = _leg(work, number, saved)
            saved = None
            if ending is not None:
                return _broken_off(work, ending)
            if _is_enough(work):
                break
        _keep_best(work)
    return Outcome("completed", context.folder.adapter.name)


def _broken_off(work: Work, how: Literal["stopped", "interrupted"]) -> Outcome:
    """Return the outcome of a campaign that ends inside a leg; the adapter is that of the last merge."""
    artifact = "" if work.memory.product is None else work.context.folder.adapter.name
    stop = work.tally.stop
    return Outcome(how, artifact) if stop is None else Outcome(how, artifact, stop.rule, stop.reason)


def _kept_step(work: Work) -> int:
    """Return the step up to which nothing is learned again: the newest merge, or the leg that waits for its own."""
    begun = work.memory.done + 1
    is_learned = begun <= len(work.legs) and read_facts(work.places.own(begun)) is not None
    return work.ends[begun - 1] if is_learned else work.memory.step


def _open(context: RunContext, backend: Backend) -> Work:
    """Load base and rows, and plan the steps of each leg."""
    places, spec = LegFiles(context.folder), context.folder.campaign()
    memory = places.memory()
    trackers = chosen_trackers(context.spec.report_to)
    device = select_device(context.spec.device)
    base = fetch_base(context)
    legs = prepare_legs(context, places, spec, base.resolved.path)
    # What counts across legs is no option of a single one.
    single = context.spec.model_copy(update={"eval_split": 0.0, "early_stopping": None, "samples": None})
    chosen = choose(single, base, all_rows(legs), device, context.folder.path)
    learner = make_learner(context, backend, base, device, chosen)
    data = [training_rows(legs, leg.leg.number, spec, context.spec.seed) for leg in legs]
    batch = Batch(chosen.batch_size, chosen.gradient_accumulation)
    ends: list[int] = []
    for leg, rows in zip(legs, data, strict=True):
        asked = single.model_copy(update={"steps": leg.leg.steps, "epochs": leg.leg.epochs})
        ends.append((ends[-1] if ends else 0) + run_length(asked, len(rows), batch).steps)
    work = Work(
        context=context,
        spec=spec,
        places=places,
        device=device,
        base=base,
        chosen=chosen,
        learner=learner,
        legs=legs,
        data=data,
        ends=ends,
        fresh=weights_of(learner.model),
        trackers=trackers,
        memory=memory,
    )
    if context.spec.from_adapter is not None and not memory.legs:
        _begin_with_adapter(work)
    if work.memory.legs:
        last = work.memory.legs[-1]
        work.tally.tokens, work.tally.supervised_tokens = last.tokens, last.supervised_tokens
    return work


def _begin_with_adapter(work: Work) -> None:
    """Count the adapter that the campaign begins with as learned before the first leg."""
    digest = _save_own(work, 0)
    record = LegRecord(
        number=0,
        step=0,
        tokens=0,
        supervised_tokens=0,
        weight=1.0,
        is_accepted=True,
        own_sha256=digest,
        merged_sha256=merge_into(
            work.places.merged(0), work.spec.merge_mode, None, (work.places.own(0), digest), 1
        ),
    )
    work.commit(CampaignMemory(legs=(record,), product=0))


def _leg(work: Work, number: int, saved: Saved | None) -> Literal["stopped", "interrupted"] | None:
    """Learn, measure, merge and commit one leg; return how the attempt ended when it ended inside."""
    context = work.context
    facts = read_facts(work.places.own(number))
    began = context.clock.monotonic()
    stretch = _stretch(work, number)
    if facts is None:
        _put_start(work, number)
    trainer = _trainer(work, number, stretch, saved)
    _tell_leg(work, number, stretch)
    _measure_base(work, trainer)
    if facts is not None:
        digest = str(facts["sha256"])
        put_into(work.learner.model, read_adapter(work.places.own(number), digest))
        work.tally.tokens = int(facts["tokens"])
        work.tally.supervised_tokens = int(facts["supervised_tokens"])
    else:
        context.phase("training", work.legs[number - 1].leg.name)
        trainer.train()
        if work.tally.ending in ("stopped", "interrupted"):
            return work.tally.ending
        digest = _save_own(work, number)
    context.position.step = stretch.last_step
    _tell_end(work, number, stretch.last_step, context.clock.monotonic() - began)
    own_row = _measure(work, trainer, number, "unmerged")
    _merge(work, trainer, number, digest, own_row)
    return None


def _stretch(work: Work, number: int) -> Stretch:
    return Stretch(
        first_step=work.ends[number - 2] if number > 1 else 0,
        last_step=work.ends[number - 1],
        total_steps=work.ends[-1],
        learning_rate=work.legs[number - 1].leg.learning_rate,
        # Each leg depends on its own beginning alone, so that one may begin in another process.
        seed=(work.context.spec.seed + number - 1) % 2**32,
    )


def _put_start(work: Work, number: int) -> None:
    """Put the adapter into the model with which a leg begins."""
    standing = work.memory.accepted
    if not standing:
        begun = slao.start_of_leg(work.spec.merge_mode, work.fresh, None)
    else:
        last = standing[-1]
        own = read_adapter(work.places.own(last.number), last.own_sha256)
        merged = read_adapter(work.places.merged(last.number), last.merged_sha256)
        begun = slao.start_of_leg(work.spec.merge_mode, own, merged)
    put_into(work.learner.model, begun)


def _ground(work: Work, data: TrainingData, number: int, saved: Saved | None) -> Ground:
    chosen = dataclasses.replace(work.chosen, steps=work.ends[number - 1])
    return Ground(work.device, work.base, data, chosen, saved, work.trackers)


def _trainer(work: Work, number: int, stretch: Stretch, saved: Saved | None) -> RunTrainer:
    """Return a trainer of one leg over the campaign's own model, with a fresh optimizer."""
    context, data = work.context, work.rows_of(number)
    identity = identity_of(context, work.base.resolved, data.sha256)
    settings = orjson.dumps([identity.config_sha256, work.spec.model_dump(mode="json"), stretch.first_step])
    identity = identity.model_copy(update={"config_sha256": hashlib.sha256(settings).hexdigest()})
    require_same(saved, identity)
    ground = _ground(work, data, number, saved)
    work.tally = Tally(work.tally.tokens, work.tally.supervised_tokens)
    is_sparing = is_free(context, "checkpoint_every")
    keeper = Keeper(context, identity, ground.chosen, work.tally, is_sparing=is_sparing)
    if saved is not None:
        load_weights(work.learner.model, saved.folder)
    return build_trainer(context, ground, work.learner, keeper, work.tally, stretch)


def _save_own(work: Work, number: int) -> str:
    context = work.context
    facts = {"tokens": work.tally.tokens, "supervised_tokens": work.tally.supervised_tokens}
    target = work.places.own(number)
    return save_own(work.learner.model, work.base.tokenizer, target, context.info.run_id, facts)


def _merge(work: Work, trainer: RunTrainer, number: int, digest: str, own_row: ForgetRow | None) -> None:
    """Merge a leg beside what stands, measure it, judge it, and commit."""
    context, mode, places = work.context, work.spec.merge_mode, work.places
    context.phase("merging", work.legs[number - 1].leg.name)
    began = context.clock.monotonic()
    standing = work.memory.accepted
    count = len(standing) + 1
    before = (places.merged(standing[-1].number), standing[-1].merged_sha256) if standing else None
    target = places.merged(number)
    merged = merge_into(target, mode, before, (places.own(number), digest), count)
    seconds = round(context.clock.monotonic() - began, 3)
    put_into(work.learner.model, read_adapter(target, merged))
    row = _measure(work, trainer, number, "merged")
    reason = _rejection(work, number, row)
    weight = slao.merge_weight(mode, count)
    record = LegRecord(
        number=number,
        step=context.position.step,
        tokens=work.tally.tokens,
        supervised_tokens=work.tally.supervised_tokens,
        weight=weight,
        is_accepted=not reason,
        own_sha256=digest,
        merged_sha256=merged,
        held_out_loss=_mean(row.loss) if row is not None else None,
    )
    context.journal.append(
        LegMerged(
            leg=number,
            mode=mode,
            weight=weight,
            is_accepted=not reason,
            reason=reason,
            path=str(target.relative_to(context.folder.path)),
            seconds=seconds,
        )
    )
    work.commit(
        CampaignMemory(
            legs=(*work.memory.legs, record),
            product=work.memory.product if reason else number,
            rows=(*work.memory.rows, *(each for each in (own_row, row) if each is not None)),
        )
    )


def _rejection(work: Work, number: int, row: ForgetRow | None) -> str:
    """Return why the gate rejects a merge, empty when it lets it pass or there is none."""
    gate = work.spec.gate
    standing = [leg.number for leg in work.memory.accepted if leg.number]
    if gate is None or row is None or not standing:
        return ""
    last = standing[-1]
    before = next(known for known in work.memory.rows if (known.leg, known.adapter) == (last, "merged"))
    pairs = [(row.loss[leg - 1], before.loss[leg - 1]) for leg in standing]
    risen = [now - then for now, then in pairs if now is not None and then is not None]
    if not risen or math.fsum(risen) / len(risen) <= gate:
        return ""
    return f"the held-out loss of the earlier legs rose by {math.fsum(risen) / len(risen):.3f}, the gate is {gate:g}"


def _measure_base(work: Work, trainer: RunTrainer) -> None:
    """Measure the base model once for every set that is there."""
    known = next((row for row in work.memory.rows if row.adapter == "base"), None)
    if not work.spec.validation or (known is not None and len(known.loss) == len(work.legs)):
        return
    with work.learner.model.disable_adapter():
        row = _scores(work, trainer, 0, "base")
    rest = tuple(each for each in work.memory.rows if each.adapter != "base")
    work.memory = work.memory.model_copy(update={"rows": (row, *rest)})


def _measure(
    work: Work, trainer: RunTrainer, number: int, adapter: Literal["unmerged", "merged"]
) -> ForgetRow | None:
    return _scores(work, trainer, number, adapter) if work.spec.validation else None


def _scores(
    work: Work, trainer: RunTrainer, number: int, adapter: Literal["base", "unmerged", "merged"]
) -> ForgetRow:
    """Measure what the model holds now on the held-out rows of every leg, and journal it."""
    work.context.phase("measuring", "base model" if adapter == "base" else f"leg {number} {adapter}")
    losses = [held_out_loss(trainer, leg.held_out) for leg in work.legs]
    row = ForgetRow(
        leg=number,
        adapter=adapter,
        loss=tuple(loss if math.isfinite(loss) else None for loss in losses),
        exact=tuple(held_out_exact(trainer, leg.held_out) for leg in work.legs),
    )
    work.context.journal.append(row)
    return row


def _is_enough(work: Work) -> bool:
    """Return whether so many legs in a row as the user allows brought no new lowest loss over all sets."""
    patience, losses = (
        work.context.spec.early_stopping,
        [leg.held_out_loss for leg in work.memory.legs if leg.number],
    )
    known = [loss for loss in losses if loss is not None]
    if patience is None or not known or len(losses) == len(work.legs):
        return False
    since = len(known) - 1 - known.index(min(known))
    if since < patience:
        return False
    work.context.notice(
        f"The mean held-out loss found no new lowest in {patience} legs; the campaign ends early."
    )
    return True


def _keep_best(work: Work) -> None:
    """With early stopping, make the leg with the lowest mean held-out loss the campaign's."""
    standing = [leg for leg in work.memory.accepted if leg.held_out_loss is not None]
    if work.context.spec.early_stopping is None or not standing:
        return
    best = min(standing, key=lambda leg: leg.held_out_loss or 0.0)
    if best.number == work.memory.product:
        return
    work.context.notice(f"The result is that of leg {best.number}, where the mean held-out loss was lowest.")
    work.commit(work.memory.model_copy(update={"product": best.number}))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) and known else None


def _tell_leg(work: Work, number: int, stretch: Stretch) -> None:
    leg = work.legs[number - 1]
    work.context.journal.append(
        LegStarted(
            leg=number,
            legs=len(work.legs),
            name=leg.leg.name,
            first_step=stretch.first_step,
            steps=stretch.steps,
            learning_rate=stretch.learning_rate,
            rows=len(leg.rows),
            replay_rows=len(work.data[number - 1]) - len(leg.rows),
            held_out=len(leg.held_out),
        )
    )


def _tell_end(work: Work, number: int, step: int, seconds: float) -> None:
    path = str(Path(work.places.own(number)).relative_to(work.context.folder.path))
    work.context.journal.append(LegEnded(leg=number, step=step, path=path, seconds=round(seconds, 3)))

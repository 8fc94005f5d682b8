"""When a run writes a checkpoint, what goes into it, and how an attempt goes on from one."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from backprop_core import files
from backprop_core.config.specs import TrainSpec
from backprop_core.engine import training_state
from backprop_core.engine.checkpoints import CheckpointStore, Identity, Manifest
from backprop_core.engine.context import RunContext
from backprop_core.engine.devices import library_versions
from backprop_core.engine.stop_rules import Stop, Trend
from backprop_core.engine.training_state import LoopState
from backprop_core.errors import StateError
from backprop_core.events.types import CheckpointSaved, RunResumed
from backprop_core.hub.records import ResolvedModel
from backprop_core.planning.records import Choices

# Fields of the spec that do not decide over what is computed.
_NAMES: Final = {"name", "output_dir", "checkpoint_every"}
# An automatic checkpoint waits for so much work since the last one, and until that one has cost no
# more than a twentieth of it.
_WORK_S: Final = 30.0
_WORK_PER_CHECKPOINT: Final = 20.0
_EDGE_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Tally:
    """What the run has seen so far, over all attempts.

    Attributes:
        not_finite: steps in a row whose loss or gradient was no number.
        best_loss: the lowest loss on held-out rows, reached at `best_step`.
        trend: what the measures on held-out rows amount to.
        ending: why the loop ended before its last step, if it did.
        stop: the rule of the run that ended it, if one did.
    """

    tokens: int = 0
    supervised_tokens: int = 0
    not_finite: int = 0
    best_loss: float | None = None
    best_step: int = 0
    trend: Trend = field(default_factory=Trend)
    ending: Literal["stopped", "interrupted"] | None = None
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """A verified checkpoint to go on from."""

    manifest: Manifest
    folder: Path
    loop: LoopState


def find_saved(context: RunContext, *, after: int = 0) -> Saved | None:
    """Return the newest valid checkpoint of an earlier attempt and journal from where the run goes on.

    Nothing is journalled in a first attempt.

    Args:
        after: the step that is kept elsewhere; only a later checkpoint counts.
    """
    if context.attempt == 1:
        return None
    store = CheckpointStore(context.folder.checkpoints)
    store.clean()
    passed_over: list[str] = []
    manifest = store.newest_valid(lambda _, error: passed_over.append(error.message))
    note = " ".join(passed_over)
    if manifest is None or manifest.step <= after:
        anew = "" if after else "There is no checkpoint to go on from; the run begins anew."
        context.journal.append(RunResumed(step=after, path="", note=f"{note} {anew}".strip()))
        context.position.step = after
        return None
    folder = store.path(manifest.step)
    try:
        loop = training_state.load_loop(folder)
    except ValueError as error:
        raise StateError(
            "STATE_CHECKPOINT_INVALID", f"The checkpoint {folder.name} was written by another version."
        ) from error
    context.position.step = manifest.step
    context.journal.append(
        RunResumed(step=manifest.step, path=f"{context.folder.checkpoints.name}/{folder.name}", note=note)
    )
    return Saved(manifest, folder, loop)


def identity_of(context: RunContext, model: ResolvedModel, data_sha256: str) -> Identity:
    """Return what the checkpoints of this run belong to."""
    return Identity(
        run_id=context.info.run_id,
        config_sha256=config_sha256(context.spec),
        data_sha256=data_sha256,
        base=f"{model.id} {_fingerprint(model.path)}",
    )


def require_same(saved: Saved | None, identity: Identity) -> None:
    """Raise when the run is no longer what its checkpoint belongs to.

    Raises:
        StateError: STATE_CHECKPOINT_INVALID, naming what changed.
    """
    if saved is None:
        return
    difference = saved.manifest.identity.difference(identity)
    if difference is not None:
        raise StateError(
            "STATE_CHECKPOINT_INVALID",
            f"The checkpoint {saved.folder.name} cannot be continued: {difference}.",
            hint="Put the earlier file back, or start a new run with what is there now.",
        )


class Keeper:
    """Writes the checkpoints of one attempt.

    Args:
        identity: what they belong to.
        chosen: the derived values, kept so that a resumed attempt works with the same ones.
        is_sparing: whether a checkpoint that is due waits while the last one was dear.
    """

    def __init__(
        self, context: RunContext, identity: Identity, chosen: Choices, tally: Tally, *, is_sparing: bool
    ) -> None:
        self._context = context
        self._identity = identity
        self._chosen = chosen
        self._tally = tally
        self._is_sparing = is_sparing
        self._store = CheckpointStore(context.folder.checkpoints)
        self._last_step = 0
        self._last_end = context.clock.monotonic()
        self._last_seconds = 0.0

    def restore(self, saved: Saved, trainer: Any) -> None:
        """Put optimizer, schedule, generators and counts where the checkpoint has them."""
        loop = saved.loop
        training_state.load_optimizer(trainer.optimizer, saved.folder, loop)
        trainer.lr_scheduler.load_state_dict(dict(loop.scheduler))
        training_state.load_random(saved.folder, loop)
        trainer.loss_scale = loop.loss_scale
        self._tally.tokens = loop.tokens
        self._tally.supervised_tokens = loop.supervised_tokens
        self._tally.best_loss = loop.best_loss
        self._tally.best_step = loop.best_step
        self._tally.trend = Trend(loop.plateau_loss, loop.not_better, loop.diverging)
        self._last_step = loop.step

    def is_scheduled(self, step: int) -> bool:
        """Return whether a checkpoint and an evaluation belong at this step."""
        return step % self._chosen.checkpoint_every == 0

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is to be written at this step."""
        if not self.is_scheduled(step) or step >= self._chosen.steps:
            return False
        passed = self._context.clock.monotonic() - self._last_end
        return not self._is_sparing or passed >= max(_WORK_S, _WORK_PER_CHECKPOINT * self._last_seconds)

    def save(self, step: int, trainer: Any, *, is_best: bool = False) -> None:
        """Write the checkpoint of a step, unless that step has one.

        Raises:
            OSError: the disk refuses; the older checkpoints stand.
        """
        if step == self._last_step:
            return
        began = self._context.clock.monotonic()
        folder = self._store.write(
            self._identity,
            step=step,
            attempt=self._context.attempt,
            created_at=self._context.clock.now().isoformat(),
            write_files=lambda target: self._write(target, step, trainer),
            is_best=is_best,
        )
        self._last_step = step
        self._last_end = self._context.clock.monotonic()
        self._last_seconds = self._last_end - began
        self._context.journal.append(
            CheckpointSaved(
                step=step,
                path=f"{self._context.folder.checkpoints.name}/{folder.name}",
                size_bytes=files.size_of_tree(folder),
                seconds=round(self._last_seconds, 3),
            )
        )

    def load_best(self, trainer: Any) -> None:
        """Put the weights of the best step into the model; a checkpoint that was damaged since does not."""
        best = self._tally.best_step
        if not best or best == self._context.position.step:
            return
        try:
            self._store.verify(best)
        except StateError as error:
            self._context.notice(f"{error.message} The newest weights are kept.", is_warning=True)
            return
        training_state.load_weights(trainer.model, self._store.path(best))
        self._context.notice(f"The result is that of step {best}, where the held-out loss was lowest.")

    def _write(self, folder: Path, step: int, trainer: Any) -> None:
        training_state.save_weights(trainer.model, folder)
        optimizer = training_state.save_optimizer(trainer.optimizer, folder)
        generators = training_state.save_random(folder)
        training_state.save_loop(
            LoopState(
                step=step,
                tokens=self._tally.tokens,
                supervised_tokens=self._tally.supervised_tokens,
                best_loss=self._tally.best_loss,
                best_step=self._tally.best_step,
                not_better=self._tally.trend.stale,
                plateau_loss=self._tally.trend.reference,
                diverging=self._tally.trend.diverging,
                choices=dataclasses.asdict(self._chosen),
                cut=trainer.cutter.cut,
                loss_scale=trainer.loss_scale,
                scheduler=trainer.lr_scheduler.state_dict(),
                versions=library_versions(),
                **optimizer,
                **generators,
            ),
            folder,
        )


def config_sha256(spec: TrainSpec) -> str:
    """Return a digest of the settings that stand in the run's own file.

    Fields that a later version adds stand in no older file and change nothing about its run.
    """
    stored = spec.model_dump(exclude=_NAMES, exclude_unset=True)
    content = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()


def _fingerprint(folder: Path) -> str:
    """Return a digest of a model's configuration, of its files' names and sizes and of their edges.

    Reading tens of gigabytes at each start would cost more than it tells.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(_EDGE_BYTES))
            stream.seek(max(0, size - _EDGE_BYTES))
            digest.update(stream.read(_EDGE_BYTES))
    return digest.hexdigest()

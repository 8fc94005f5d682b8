"""The rows of a campaign's legs: encoded once, fixed before the first leg learns, and kept with the campaign.

What is measured weeks later is what was held out at the beginning, whatever became of the data files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backprop_core import files
from backprop_core.config.campaigns import CampaignSpec
from backprop_core.datasets.legs import chunk, hold_out, overlap, replayed
from backprop_core.engine.collating import Row
from backprop_core.engine.context import RunContext
from backprop_core.engine.tokenizing import EncodedFile, TrainingData, encode_file
from backprop_core.errors import InputError, StateError
from backprop_core.runs.campaigns import PlannedLeg
from backprop_core.runs.leg_files import LegFiles


@dataclass(frozen=True, slots=True)
class LegRows:
    """The rows of one leg.

    Attributes:
        rows, held_out: those that train, and those that only measure.
        digests, held_out_digests: what tells them from others.
        sha256: of the file that keeps them.
    """

    leg: PlannedLeg
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    digests: tuple[str, ...]
    held_out_digests: tuple[str, ...]
    longest_before_cut: int
    sha256: str


def prepare_legs(
    context: RunContext, places: LegFiles, spec: CampaignSpec, model_path: Path
) -> list[LegRows]:
    """Return the rows of every leg, fixing those of legs that have none yet.

    Raises:
        InputError: INPUT_DATASET_INVALID, a leg has too few rows. STATE_CHECKPOINT_INVALID, a data file changed
            between plan and start.
        ConfigError: CONFIG_INVALID, a leg would learn what another has held out.
        StateError: STATE_SLAO_CHECKPOINT_INVALID, a leg was edited after the campaign began.
    """
    planned = places.plan().legs
    fixed = [_load(places, leg) for leg in planned if places.rows(leg.number).exists()]
    fresh = planned[len(fixed) :]
    if not fresh:
        return fixed
    encoded = {
        source: _encode(context, source, model_path, fresh) for source in {leg.source for leg in fresh}
    }
    chosen = [_indexes(leg, encoded[leg.source], spec) for leg in fresh]
    known = [(*leg.digests, *leg.held_out_digests) for leg in fixed]
    known += [
        tuple(encoded[leg.source].digests[index] for index in indexes)
        for leg, indexes in zip(fresh, chosen, strict=True)
    ]
    contents = []
    for leg, indexes in zip(fresh, chosen, strict=True):
        held = _held_out(context, known, leg, spec)
        _require_apart(fixed, leg, [known[leg.number - 1][i] for i in range(len(indexes)) if i not in held])
        contents.append((leg, _content(leg, encoded[leg.source], indexes, held)))
    # Only once all of them can be fixed.
    for leg, content in contents:
        path = places.rows(leg.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content)
    return [*fixed, *(_load(places, leg) for leg in fresh)]


def training_rows(legs: Sequence[LegRows], number: int, spec: CampaignSpec, seed: int) -> tuple[Row, ...]:
    """Return what a leg trains on: its own rows, then those of earlier legs that come back."""
    own, earlier = legs[number - 1], legs[: number - 1]
    again = replayed(
        len(own.rows), spec.replay_fraction, [len(leg.rows) for leg in earlier], spec.replay_strategy, seed
    )
    return (*own.rows, *(legs[leg - 1].rows[index] for leg, index in again))


def all_rows(legs: Sequence[LegRows]) -> TrainingData:
    """Return the rows of all legs together, from which memory and rank are planned."""
    rows = tuple(row for leg in legs for row in leg.rows)
    longest = max(leg.longest_before_cut for leg in legs)
    digest = hashlib.sha256("".join(leg.sha256 for leg in legs).encode()).hexdigest()
    return TrainingData(rows, (), digest, 0, None, longest, 0)


def _encode(context: RunContext, source: str, model_path: Path, legs: Sequence[PlannedLeg]) -> EncodedFile:
    found = encode_file(context, Path(source), model_path)
    leg = next(leg for leg in legs if leg.source == source)
    if found.sha256 != leg.sha256:
        raise StateError(
            "STATE_CHECKPOINT_INVALID",
            f"The data of leg {leg.number}, {source}, has changed since it was planned.",
            hint="Put the earlier file back, or start a new campaign with what is there now.",
        )
    return found


def _indexes(leg: PlannedLeg, found: EncodedFile, spec: CampaignSpec) -> range:
    own = chunk(len(found.rows), part=leg.part, parts=leg.parts, samples=leg.samples)
    if len(own) < (2 if spec.validation else 1):
        raise InputError(
            "INPUT_DATASET_INVALID",
            f"Leg {leg.number} ({leg.name}) has {len(own)} usable rows, too few to learn from.",
            hint="Use fewer legs, or more data.",
        )
    return own


def _held_out(
    context: RunContext, known: Sequence[Sequence[str]], leg: PlannedLeg, spec: CampaignSpec
) -> set[int]:
    if not spec.validation:
        return set()
    train = context.spec
    held = hold_out(known, leg.number, share=train.eval_split, seed=train.seed)
    if not held:
        raise overlap(f"Every row of leg {leg.number} ({leg.name}) stands in another leg too")
    return set(held)


def _require_apart(fixed: Sequence[LegRows], leg: PlannedLeg, trained: Sequence[str]) -> None:
    """Refuse a leg that would learn rows which an earlier one has held out since the beginning."""
    for earlier in fixed:
        if doubled := len(set(trained) & set(earlier.held_out_digests)):
            raise overlap(
                f"{doubled} rows of leg {leg.number} ({leg.name}) are held out of leg {earlier.leg.number} "
                f"({earlier.leg.name})"
            )


def _content(leg: PlannedLeg, found: EncodedFile, indexes: range, held: set[int]) -> bytes:
    lines: list[Any] = [{"leg": leg.model_dump(), "longest_before_cut": found.longest_before_cut}]
    lines += [
        {
            "ids": found.rows[index].ids,
            "sources": found.rows[index].sources,
            "digest": found.digests[index],
            "is_held_out": place in held,
        }
        for place, index in enumerate(indexes)
    ]
    return b"\n".join(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) for line in lines) + b"\n"


def _load(places: LegFiles, leg: PlannedLeg) -> LegRows:
    path = places.rows(leg.number)
    try:
        content = path.read_bytes()
        head, *lines = (orjson.loads(line) for line in content.splitlines())
        begun, longest = PlannedLeg.model_validate(head["leg"]), int(head["longest_before_cut"])
        rows = [(_row(line), line["digest"], line["is_held_out"]) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError("STATE_SLAO_CHECKPOINT_INVALID", f"{path} is damaged.") from error
    if begun != leg:
        changed = next(name for name, value in begun.model_dump().items() if getattr(leg, name) != value)
        raise StateError(
            "STATE_SLAO_CHECKPOINT_INVALID",
            f"Leg {leg.number} was edited after the campaign began: its {changed} is another one.",
            hint="Undo the change of legs/plan.json, or start the campaign in a fresh folder.",
        )
    return LegRows(
        leg,
        tuple(row for row, _, is_held in rows if not is_held),
        tuple(row for row, _, is_held in rows if is_held),
        tuple(digest for _, digest, is_held in rows if not is_held),
        tuple(digest for _, digest, is_held in rows if is_held),
        longest,
        hashlib.sha256(content).hexdigest(),
    )


def _row(line: dict[str, Any]) -> Row:
    return Row(np.asarray(line["ids"], dtype=np.int64), np.asarray(line["sources"], dtype=np.int64))

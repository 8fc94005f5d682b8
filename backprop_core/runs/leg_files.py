"""Where the parts of a campaign lie in its folder, and what is committed of it.

legs/plan.json         the legs as planned
legs/state.json        what is committed, replaced as a whole by each merge
legs/001/rows.jsonl    the encoded rows of a leg, those that train and those that measure
legs/001/own/          the adapter as the leg left it
legs/001/merged/       the campaign's adapter after the leg
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import ValidationError

from backprop_core import files
from backprop_core.errors import StateError
from backprop_core.runs.campaigns import CampaignLegs, CampaignMemory
from backprop_core.runs.placing import place_copy, publish
from backprop_core.runs.store import RunFolder

_T = TypeVar("_T", CampaignLegs, CampaignMemory)


class LegFiles:
    """The campaign in a run's folder."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.root = folder.legs
        self.plan_path = self.root / "plan.json"
        self.state_path = self.root / "state.json"

    def rows(self, number: int) -> Path:
        """Return where the rows of a leg lie."""
        return self._leg(number) / "rows.jsonl"

    def own(self, number: int) -> Path:
        """Return the adapter as the leg left it; leg 0 is the one that the campaign began with."""
        return self._leg(number) / "own"

    def merged(self, number: int) -> Path:
        """Return the campaign's adapter after the leg."""
        return self._leg(number) / "merged"

    def digests(self, number: int) -> list[tuple[str, bool]]:
        """Return what tells the rows of a leg from others, each with whether it is held out.

        Raises:
            StateError: STATE_SLAO_CHECKPOINT_INVALID when the file is damaged.
        """
        path = self.rows(number)
        try:
            lines = path.read_bytes().splitlines()[1:]
            return [(line["digest"], line["is_held_out"]) for line in map(orjson.loads, lines)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError("STATE_SLAO_CHECKPOINT_INVALID", f"{path} is missing or damaged.") from error

    def plan(self) -> CampaignLegs:
        """Return the planned legs.

        Raises:
            StateError: STATE_SLAO_CHECKPOINT_INVALID when the file is damaged.
        """
        return self._read(self.plan_path, CampaignLegs)

    def memory(self) -> CampaignMemory:
        """Return what is committed; nothing before the first merge.

        Raises:
            StateError: STATE_SLAO_CHECKPOINT_INVALID when the file is damaged.
        """
        return self._read(self.state_path, CampaignMemory) if self.state_path.exists() else CampaignMemory()

    def commit(self, memory: CampaignMemory) -> None:
        """Replace what is committed."""
        files.write_json(self.state_path, memory.model_dump())

    def place_product(self, memory: CampaignMemory, publish_to: str | None) -> None:
        """Make the run's adapter, and its published copy, that of the chosen leg.

        Raises:
            InputError: the publish target holds files of others; the run's own copy is right.
        """
        if memory.product is None:
            return
        place_copy(self.merged(memory.product), self._folder.adapter)
        if publish_to is not None:
            publish(self._folder.adapter, Path(publish_to))

    def _leg(self, number: int) -> Path:
        return self.root / f"{number:03d}"

    def _read(self, path: Path, model: type[_T]) -> _T:
        try:
            return model.model_validate(files.read_json(path))
        except (OSError, ValueError, ValidationError) as error:
            raise StateError("STATE_SLAO_CHECKPOINT_INVALID", f"{path} is missing or damaged.") from error

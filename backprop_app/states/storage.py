"""The Storage page: what takes space, what goes into the trash, what comes back and what goes for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views.storage import (
    AreaItem,
    DeletableItem,
    TrashItem,
    area_items,
    deletable_items,
    trash_items,
)
from backprop_core import units
from backprop_core.errors import BackpropagateError
from backprop_core.services import storage, trash
from backprop_core.workspace import Workspace


class StorageState(rx.State):
    """What was found the last time that somebody looked."""

    is_loaded: bool = False
    is_busy: bool = False
    problem: str = ""
    areas: list[AreaItem] = []
    items: list[DeletableItem] = []
    trashed: list[TrashItem] = []
    lead: str = ""
    trash_text: str = ""
    old_text: str = ""
    old_ids: list[str] = []
    command: str = ""
    asked: TrashItem = TrashItem("", "", "", "", "", can_restore=False, is_old=False)
    asks_purge: bool = False
    asks_purge_old: bool = False

    @rx.event(background=True)
    async def load(self) -> None:
        """Look through the folders."""
        runtime = current()
        try:
            found = await asyncio.to_thread(storage.report, runtime.ws)
        except BackpropagateError as error:
            async with self:
                assign(self, problem=f"{error.message} {error.hint}", is_loaded=True)
            return
        days = runtime.ws.settings.ui__trash_days
        trashed = trash_items(found.trash, runtime.now(), days)
        old = [item.trash_id for item in trashed if item.is_old]
        total = sum(area.size_bytes for area in found.areas)
        in_trash = sum(entry.size_bytes for entry in found.trash)
        async with self:
            assign(
                self,
                areas=area_items(found.areas),
                items=deletable_items(found.items),
                trashed=trashed,
                lead=f"{units.file_size(total)} in use, {units.file_size(found.room_bytes)} may still be written.",
                trash_text=f"{units.file_size(in_trash)}, stays until you remove it",
                old_text=f"Remove {len(old)} older than {units.count(days)} days",
                old_ids=old,
                problem="",
                is_loaded=True,
            )

    @rx.event
    async def delete(self, key: str) -> Any:
        """Move a thing of the list into the trash."""
        is_done, told = await _try(lambda ws: storage.delete(ws, key).name, "is in the trash")
        if is_done:
            await audit.note(self, "storage.delete", what=key)
        return told

    @rx.event
    async def restore(self, trash_id: str) -> Any:
        """Move a thing of the trash back to where it came from."""
        is_done, told = await _try(lambda ws: trash.restore(ws, trash_id).name, "is back")
        if is_done:
            await audit.note(self, "storage.restore", what=trash_id)
        return told

    @rx.event
    def ask_purge(self, trash_id: str) -> None:
        """Ask before a thing goes for good."""
        for item in self.trashed:
            if item.trash_id == trash_id:
                self.asked, self.asks_purge = item, True

    @rx.event
    def ask_purge_old(self) -> None:
        """Ask before everything old goes for good."""
        self.asks_purge_old = bool(self.old_ids)

    @rx.event
    def keep(self) -> None:
        """Close the question; nothing is removed."""
        self.asks_purge = self.asks_purge_old = False

    @rx.event
    async def purge(self) -> Any:
        """Remove the thing that was asked about for good."""
        ids, self.asks_purge = [self.asked.trash_id] if self.asks_purge else [], False
        is_done, told = await _try_purge(ids)
        if is_done:
            await audit.note(self, "storage.purge", what=" ".join(ids))
        return told

    @rx.event
    async def purge_old(self) -> Any:
        """Remove everything old from the trash for good."""
        ids, self.asks_purge_old = list(self.old_ids) if self.asks_purge_old else [], False
        is_done, told = await _try_purge(ids)
        if is_done:
            await audit.note(self, "storage.purge", what=" ".join(ids))
        return told


async def _try_purge(trash_ids: list[str]) -> tuple[bool, list[Any]]:
    """Remove things for good; nothing happens when none was asked about."""
    if not trash_ids:
        return False, []
    return await _try(lambda ws: units.file_size(trash.purge(ws, trash_ids)), "are free again")


async def _try(act: Callable[[Workspace], str], done: str) -> tuple[bool, list[Any]]:
    """Do one thing; return whether it was done, and the events that tell it and look again."""
    try:
        name = await asyncio.to_thread(act, current().ws)
    except BackpropagateError as error:
        told = ShellState.show_toast("That was not possible", f"{error.message} {error.hint}", "danger")
        return False, [told, StorageState.load]
    return True, [ShellState.show_toast(f"{name} {done}", "", "ok"), StorageState.load]

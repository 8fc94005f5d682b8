"""The Settings page: what holds and why, single values changed in the file, and whether this machine is in order."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import settings as views
from backprop_app.views.settings import CheckItem, Fact, SettingGroup
from backprop_core.errors import BackpropagateError
from backprop_core.services import configuration, health, system

_VALUE_LENGTH: Final = 1000


class SettingsState(rx.State):
    """Every setting, the one that is being changed, and the checks."""

    groups: list[SettingGroup] = []
    only_changed: bool = False
    is_loaded: bool = False
    problem: str = ""
    editing: str = ""
    error: str = ""
    asks_reset: bool = False
    facts: list[Fact] = []
    checks: list[CheckItem] = []
    checks_text: str = ""
    is_checking: bool = False

    @rx.event(background=True)
    async def load(self) -> Any:
        """Read every setting."""
        async with self:
            self.editing, self.error = "", ""
        await self._read()
        return SettingsState.check

    @rx.event(background=True)
    async def check(self) -> None:
        """Look at this machine as `backprop doctor` does."""
        async with self:
            self.is_checking = True
        facts, checks = await asyncio.to_thread(_look, current())
        async with self:
            assign(
                self,
                facts=facts,
                checks=checks,
                checks_text=views.checks_text(checks),
                is_checking=False,
            )

    @rx.event(background=True)
    async def choose(self, key: str) -> None:
        """Show all settings, or those that are no defaults."""
        async with self:
            self.only_changed, self.editing, self.error = key == "changed", "", ""
        await self._read()

    @rx.event
    def edit(self, key: str) -> None:
        """Open the editor of one setting."""
        self.editing, self.error = str(key)[:80], ""

    @rx.event
    def close(self) -> None:
        """Change nothing."""
        self.editing, self.error = "", ""

    @rx.event(background=True)
    async def save(self, form: dict[str, str]) -> None:
        """Write what was typed into the file; a value that cannot be is told at its field."""
        async with self:
            key = self.editing
        text = str(form.get("value", ""))[:_VALUE_LENGTH].strip()
        await self._change(key, "setting.change", configuration.change_setting_from_page, key, text)

    @rx.event(background=True)
    async def reset_one(self, key: str) -> None:
        """Take one value out of the file, so that its default holds again."""
        await self._change(key, "setting.reset", configuration.reset_setting_from_page, key)

    @rx.event
    def ask_reset(self) -> None:
        """Ask before every default is brought back."""
        self.asks_reset = True

    @rx.event
    def keep(self) -> None:
        """Reset nothing."""
        self.asks_reset = False

    @rx.event(background=True)
    async def reset_all(self) -> Any:
        """Put the file aside, so that every default holds again."""
        runtime = current()
        async with self:
            self.asks_reset, self.editing = False, ""
        stamp = runtime.now().strftime("%Y%m%d-%H%M%S")
        aside = await asyncio.to_thread(configuration.set_config_aside, stamp)
        await audit.note(self, "setting.reset", key="all")
        await self._read()
        text = f"The old file is {aside.name}." if aside else "There was no config.toml."
        return ShellState.show_toast("Every default holds", text, "ok")

    async def _change(self, key: str, action: str, act: Any, *arguments: str) -> None:
        try:
            await asyncio.to_thread(act, *arguments)
        except BackpropagateError as error:
            async with self:
                self.editing, self.error = key, f"{error.message} {error.hint}".strip()
            return
        await audit.note(self, action, key=key)
        async with self:
            self.editing, self.error = "", ""
        await self._read()

    async def _read(self) -> None:
        """Show the settings as they stand, or why they cannot be read."""
        try:
            rows = await asyncio.to_thread(configuration.list_settings)
        except BackpropagateError as error:
            async with self:
                assign(self, groups=[], is_loaded=True, problem=f"{error.message} {error.hint}".strip())
            return
        async with self:
            groups = views.setting_groups(rows, only_changed=self.only_changed)
            assign(self, groups=groups, is_loaded=True, problem="")


def _look(runtime: Runtime) -> tuple[list[Fact], list[CheckItem]]:
    ws = runtime.ws
    return views.facts_of(system.info(ws)), views.check_items(health.check_machine(ws.home))

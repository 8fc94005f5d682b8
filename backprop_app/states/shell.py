"""What the frame of every page holds: version, theme-independent switches, the toast."""

from __future__ import annotations

import asyncio

import reflex as rx

TOAST_S = 6.0


class ShellState(rx.State):
    """Switches of the frame. Nothing here decides anything."""

    rail_open: bool = False
    keys_open: bool = False
    shows_python: bool = False
    toast_title: str = ""
    toast_text: str = ""
    toast_tone: str = ""
    _toast_number: int = 0

    @rx.event
    def toggle_rail(self) -> None:
        """Fold the rail in or out on narrow screens."""
        self.rail_open = not self.rail_open

    @rx.event
    def toggle_keys(self) -> None:
        """Show or hide the list of shortcuts."""
        self.keys_open = not self.keys_open

    @rx.event
    def set_keys(self, is_open: bool) -> None:
        """Follow the dialog, which closes itself on Escape."""
        self.keys_open = bool(is_open)

    @rx.event
    def toggle_python(self) -> None:
        """Show the twin of the page as a command or as Python."""
        self.shows_python = not self.shows_python

    @rx.event
    def close_toast(self) -> None:
        """Put the toast away."""
        self.toast_title = ""

    @rx.event(background=True)
    async def show_toast(self, title: str, text: str, tone: str) -> None:
        """Show one toast; errors stay until they are closed, the rest goes after six seconds."""
        async with self:
            self._toast_number += 1
            number = self._toast_number
            self.toast_title, self.toast_text, self.toast_tone = str(title), str(text), str(tone)
        if tone == "danger":
            return
        await asyncio.sleep(TOAST_S)
        async with self:
            if self._toast_number == number:
                self.toast_title = ""

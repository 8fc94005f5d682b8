"""The push of one export to the hub: where to, who may see it, and with which login. Holds no token."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import current
from backprop_app.states.shell import ShellState
from backprop_core.errors import BackpropagateError
from backprop_core.services import pushes
from backprop_core.services.pushes import PushRequest

_NAME_LENGTH: Final = 200


class PushState(rx.State):
    """The panel that asks where an export goes."""

    job_id: str = ""
    name: str = ""
    repo: str = ""
    is_private: bool = True
    login: str = ""
    problem: str = ""
    is_starting: bool = False
    _start_key: str = ""

    @rx.event(background=True)
    async def ask(self, job_id: str, name: str) -> None:
        """Open the panel for one export."""
        login = await asyncio.to_thread(pushes.login)
        async with self:
            self.job_id, self.name, self.problem = job_id[:64], name[:_NAME_LENGTH], ""
            self.login = f"{login.endpoint}, signed in by {login.source}" if login.is_ready else ""
            self._start_key = uuid.uuid4().hex

    @rx.event
    def close(self) -> None:
        """Close the panel."""
        self.job_id = ""

    @rx.event
    def set_repo(self, value: str) -> None:
        """Name the repository."""
        self.repo, self.problem = value.strip()[:_NAME_LENGTH], ""

    @rx.event
    def toggle_private(self) -> None:
        """Let everybody see it, or nobody else."""
        self.is_private = not self.is_private

    @rx.event(background=True)
    async def start(self) -> Any:
        """Put the push into the queue; a second click before the answer is the same job."""
        async with self:
            if self.is_starting or not self.job_id:
                return None
            self.is_starting = True
            request = PushRequest(self.job_id, self.repo, is_private=self.is_private)
            key = self._start_key
        try:
            job = await asyncio.to_thread(pushes.start, current().ws, request, face="page", start_key=key)
        except BackpropagateError as error:
            async with self:
                self.is_starting, self.problem = False, f"{error.message} {error.hint}"
            return None
        await audit.note(self, "push.start", run_id=job)
        async with self:
            self.is_starting, self.job_id = False, ""
        return ShellState.show_toast("The push is in the queue", request.repo, "ok")

"""Writes down who did what on the page: started, stopped, deleted, exported."""

from __future__ import annotations

import asyncio

import reflex as rx

from backprop_app.runtime import current
from backprop_app.security.gate import USER_HEADER
from backprop_core.auth.audit import AuditLog


async def note(state: rx.State, action: str, **facts: str) -> None:
    """Append a line to the audit log.

    Args:
        state: whose handler acts; it knows the user, whom the gate named, and the address.
        action: what was done, as `run.start`.
        facts: ids and names that belong to it.
    """
    ws = current().ws
    user = state.router.headers.raw_headers.get(USER_HEADER.decode(), "")
    log = AuditLog(ws.home, ws.clock)
    await asyncio.to_thread(log.write, action, user=user, peer=state.router.session.client_ip, **facts)

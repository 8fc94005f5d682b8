"""What one gate works with: the policy, who may pass, the open sockets and the login addresses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from backprop_app.build.manifest import PACKAGE_DIR, WEB_DIR
from backprop_app.security.access import Access
from backprop_app.security.live import LiveSockets
from backprop_app.security.login import LoginDesk
from backprop_app.security.login_page import LoginPage
from backprop_app.security.rules import Policy
from backprop_core.auth.audit import AuditLog
from backprop_core.config.settings import load_settings
from backprop_core.ports import Clock, SystemClock
from backprop_core.services.access import Login, set_up_login

_SOURCES: Final = PACKAGE_DIR.parent / "assets"


class Guard:
    """The parts of a gate, for one policy.

    Raises:
        ValueError: the policy asks for a session and nobody could have one.
    """

    def __init__(self, policy: Policy, access: Access | None, clock: Clock | None = None) -> None:
        if policy.require_session and access is None:
            raise ValueError("a policy that asks for a session needs to know who may have one")
        self.policy = policy
        self.access = access if policy.require_session else None
        self.clock = clock or SystemClock()
        self.live = LiveSockets(
            self.access,
            self.clock,
            limit=policy.max_sockets,
            session_limit=policy.max_session_sockets,
        )
        page = LoginPage(look()) if self.access is not None else None
        self.desk = LoginDesk(self.access, page, self.live)


def look() -> Path:
    """Return the folder with the look of the login page: of the bundle, in a checkout its source."""
    return WEB_DIR if (WEB_DIR / "theme.css").is_file() else _SOURCES


def open_access(login: Login, home: Path, clock: Clock | None = None) -> Access:
    """Return who may pass by a login that is set up."""
    clock = clock or SystemClock()
    return Access(login, AuditLog(home, clock), clock)


def configured_guard() -> Guard:
    """Return the guard that environment and store ask for, for a server that nobody prepared.

    Raises:
        BackpropagateError: a credential is there and cannot be used; then nothing may be served.
    """
    settings, _ = load_settings()
    login = set_up_login(settings.home, os.environ, config_file=settings.ui__auth_file)
    policy = Policy(require_session=login is not None, upload_cap_bytes=settings.ui__upload_limit_mib << 20)
    return Guard(policy, None if login is None else open_access(login, settings.home))

"""How the app is exposed, decided by flags alone. Pure: nothing is opened here.

An environment variable may hold the password; whether one is needed it can never decide. What is not
named below is refused.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

from backprop_app.security.rules import Mode, Policy, is_loopback, parse_host
from backprop_core import platform
from backprop_core.errors import InputError

_AUTH: Final = "BACKPROPAGATE_UI__AUTH"
_TRUST: Final = "BACKPROPAGATE_SECURITY__TRUST_PUBLISHED_LOOPBACK"
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Wanted:
    """The flags that decide about exposure.

    Attributes:
        host: address to listen on.
        port: for the lines that tell how to forward it.
        share: whether a tunnel is wanted.
        share_via: who provides the tunnel.
        share_for: how long it may last.
        allow_hosts: names besides the loopback ones under which the app may be reached.
        trusts_published: whether the operator says that the container's port is published on loopback.
        published: the address on which it is.
        peers: who may connect to it then; empty outside our image.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    share_via: str = ""
    share_for: str = ""
    allow_hosts: tuple[str, ...] = ()
    trusts_published: bool = False
    published: str = ""
    peers: frozenset[str] = frozenset()

    @property
    def is_published_to_itself(self) -> bool:
        """Whether this is a container that nobody but its own machine reaches."""
        return self.trusts_published and bool(self.peers) and is_loopback(self.published)


def require_credential(wanted: Wanted, *, has_credential: bool) -> None:
    """Refuse what would let others in without a login.

    Raises:
        InputError: INPUT_AUTH_REQUIRED, or INPUT_VALIDATION_FAILED for flags that contradict each other.
    """
    if wanted.share and not is_loopback(wanted.host):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"--share keeps the app on this machine and --host {wanted.host} opens it to the network.",
            hint="Use one of the two.",
        )
    for flag, value in (("--share-via", wanted.share_via), ("--share-for", wanted.share_for)):
        if value and not wanted.share:
            raise InputError("INPUT_VALIDATION_FAILED", f"{flag} says how, but --share is not there.")
    if wanted.trusts_published and not wanted.peers:
        raise InputError(
            "INPUT_AUTH_REQUIRED",
            f"{_TRUST}=true is for the container image alone, and this is not it.",
            hint=f"Unset it. To listen on other addresses set a login: {_AUTH}=user:password",
        )
    what = _exposes(wanted)
    if what and wanted.peers and not has_credential:
        raise _published_without_login(wanted, what)
    if what and not has_credential:
        raise InputError(
            "INPUT_AUTH_REQUIRED",
            f"{what} would let others reach this machine, and no login is set up.",
            hint=f"Add --auth user:password, or keep the default address and run on yours: {ssh_line(wanted.port)}",
        )


def decide(wanted: Wanted, *, has_credential: bool) -> Policy:
    """Return what the gate lets through.

    Args:
        has_credential: whether a login is set up; then it is needed, however the app is exposed.

    Raises:
        InputError: INPUT_AUTH_REQUIRED; INPUT_VALIDATION_FAILED for a name that is none, or flags that
            contradict each other.
    """
    require_credential(wanted, has_credential=has_credential)
    names = {_name(text) for text in wanted.allow_hosts}
    if not is_loopback(wanted.host) and not is_everywhere(wanted.host):
        names.add(_name(f"[{wanted.host}]" if ":" in wanted.host else wanted.host))
    if wanted.is_published_to_itself and not has_credential:
        return Policy(mode="container", peers=wanted.peers)
    if wanted.peers and wanted.published and not is_everywhere(wanted.published):
        names.add(_name(f"[{wanted.published}]" if ":" in wanted.published else wanted.published))
    mode: Mode = "share" if wanted.share else "local" if is_loopback(wanted.host) else "lan"
    # Behind a tunnel a further name is one that an https server hands on.
    tls = frozenset(names) if wanted.share else frozenset()
    return Policy(mode=mode, allowed_hosts=frozenset(names), tls_hosts=tls, require_session=has_credential)


def ssh_line(port: int) -> str:
    """Return the command that forwards the port from another machine."""
    return f"ssh -L {port}:localhost:{port} {platform.user_name()}@{socket.gethostname()}"


def reverse_line(port: int) -> str:
    """Return the command that makes the app appear on the loopback of another machine."""
    return f"ssh -N -R {port}:localhost:{port} USER@SERVER"


def is_everywhere(host: str) -> bool:
    """Tell whether `host` stands for every address of the machine."""
    return host in _EVERYWHERE


def _published_without_login(wanted: Wanted, what: str) -> InputError:
    """Return the refusal of a container, with the line to add to its compose file."""
    if not wanted.trusts_published:
        why = f"{_TRUST} is not set"
    elif not is_loopback(wanted.published):
        why = f"the port is published on {wanted.published or 'an address that is not named'}"
    else:
        why = f"{what} goes beyond the machine itself"
    return InputError(
        "INPUT_AUTH_REQUIRED",
        f"The container would let others reach this machine: {why}, and no login is set up.",
        hint=(
            f"Add under `environment:` of the service the line   {_AUTH}: user:password   or use the "
            f'compose file as it is shipped: published on 127.0.0.1, with   {_TRUST}: "true"'
        ),
    )


def _exposes(wanted: Wanted) -> str:
    """Return the flag that makes the app reachable from elsewhere, empty when none does."""
    if wanted.share:
        return "--share"
    if not is_loopback(wanted.host) and not (
        is_everywhere(wanted.host) and wanted.is_published_to_itself and not wanted.allow_hosts
    ):
        return f"--host {wanted.host}"
    return f"--allow-host {wanted.allow_hosts[0]}" if wanted.allow_hosts else ""


def _name(text: str) -> str:
    parsed = parse_host(text)
    if parsed is None or parsed.port is not None or is_everywhere(parsed.name):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{text[:80]!r} is no host name or address.",
            hint="Write it as it stands in the address bar, without http:// and port.",
        )
    return parsed.name

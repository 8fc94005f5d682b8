"""One share from start to end: the tunnel, the name on the gate's list, the stranger's knock, the time limit.

The address is told only after a stranger was turned away at it. When the tunnel ends, for whatever reason,
its name leaves the list and the app goes on locally.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Final, Protocol

from backprop_app.security.probe import Knock, Result, probe, public_knocks, status_of
from backprop_app.security.rules import Policy
from backprop_app.sharing.providers import Provider, Reach
from backprop_app.sharing.tunnel import Tunnel
from backprop_core.errors import RunError

_POLL_S: Final = 0.5
_LOOK_S: Final = 30.0
_PROBE_S: Final = 15.0
_FOREIGN: Final = frozenset({421})


class Door(Protocol):
    """What lets the name of a tunnel in: the gate."""

    def change(self, policy: Policy) -> None:
        """Work by another policy from now on."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the probe gets to the outer end of a tunnel.

    Attributes:
        address: to connect to; that of the tunnel when None.
        is_tls: whether to speak TLS there; as the tunnel says when None.
    """

    address: tuple[str, int] | None = None
    is_tls: bool | None = None


class Share:
    """An app that is reached through a tunnel.

    Args:
        tunnel: not started yet.
        provider: who carries it.
        door: the gate.
        policy: of the app as it is used locally.
        wait_s: how long the tunnel may take until it works.
        way: where the probe enters, when that is not the address that the tunnel tells.
    """

    def __init__(
        self,
        tunnel: Tunnel,
        provider: Provider,
        door: Door,
        policy: Policy,
        *,
        wait_s: float,
        way: Way | None = None,
    ) -> None:
        self._tunnel = tunnel
        self._provider = provider
        self._door = door
        self._policy = policy
        self._wait_s = wait_s
        self._way = way or Way()

    async def open(self, assets: tuple[str, ...]) -> Reach:
        """Start the tunnel, prove that it ends at this gate and that strangers stay out; return where it is.

        Raises:
            RunError: RUNTIME_TUNNEL_FAILED; RUNTIME_UI_GATE_OPEN. Nothing is reachable from outside then.
        """
        try:
            return await self._open(assets)
        except BaseException:
            await self.close()
            raise

    async def hold(self, life_s: float) -> str:
        """Keep the tunnel for so long or until it ends; return why it is over, as a sentence."""
        until = time.monotonic() + life_s
        # A machine that sleeps stops the one clock, somebody who sets it moves the other.
        until_wall = time.time() + life_s
        reason = "The time of --share-for is over."
        while (left := min(until - time.monotonic(), until_wall - time.time())) > 0:
            try:
                await asyncio.wait_for(self._tunnel.ended.wait(), min(left, _LOOK_S))
            except TimeoutError:
                continue
            reason = f"The tunnel ended by itself. {self._words()}"
            break
        await self.close()
        return reason

    async def close(self) -> None:
        """Take the name off the list and end the tunnel."""
        self._door.change(self._policy)
        await self._tunnel.stop()

    async def _open(self, assets: tuple[str, ...]) -> Reach:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._tunnel.start()
                reach = await self._tunnel.reach()
                if reach is None:
                    raise self._failed("ended before it was open")
                await self._wait_for_this_gate(reach)
        except TimeoutError as error:
            raise self._failed(f"was not open after {self._wait_s:g} s") from error
        except OSError as error:
            raise self._failed(f"could not be started ({error.strerror})") from error
        lasting = self._with_name(reach)
        self._door.change(lasting)
        results = await self._knock(reach, public_knocks(lasting, assets))
        wrong = [f"{result.name} (status {result.status})" for result in results if not result.holds]
        if any(result.status for result in results if not result.holds):
            raise RunError(
                "RUNTIME_UI_GATE_OPEN", f"Through the tunnel the gate does not hold: {'; '.join(wrong[:5])}."
            )
        if wrong:
            raise self._failed(f"left {len(wrong)} of {len(results)} knocks without an answer")
        if not reach.is_lasting:
            self._door.change(self._policy)
        return reach

    async def _wait_for_this_gate(self, reach: Reach) -> None:
        """Wait until the gate turns the name of the tunnel away, which is not on its list yet.

        Whatever else answers there, another server or a relay that hides the name, is never opened.
        """
        asked = status_of(reach.name, _FOREIGN)
        while not (await self._knock(reach, [asked]))[0].holds:
            if self._tunnel.ended.is_set():
                raise self._failed("ended before it was open")
            await asyncio.sleep(_POLL_S)

    async def _knock(self, reach: Reach, tries: list[Knock]) -> list[Result]:
        address, port = self._way.address or reach.dial
        is_tls = reach.is_tls if self._way.is_tls is None else self._way.is_tls
        return await probe(address, port, tries, is_tls=is_tls, wait_s=_PROBE_S)

    def _with_name(self, reach: Reach) -> Policy:
        return replace(
            self._policy,
            allowed_hosts=self._policy.allowed_hosts | {reach.name},
            tls_hosts=self._policy.tls_hosts | {reach.name},
            peer_header=self._provider.peer_header,
        )

    def _failed(self, what: str) -> RunError:
        return RunError(
            "RUNTIME_TUNNEL_FAILED", f"The tunnel of {self._provider.program} {what}. {self._words()}"
        )

    def _words(self) -> str:
        words = self._tunnel.last_words
        return f"Its last words: {words}" if words else "It said nothing."

"""Speaks to a running app as its page does, over a raw websocket."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import websockets


class ReflexSocket:
    """One open page without a browser."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection
        self.updates: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, port: int) -> ReflexSocket:
        """Connect to the app on `port` and finish the handshake."""
        url = f"ws://localhost:{port}/_event/?token={uuid.uuid4()}&EIO=4&transport=websocket"
        connection = await websockets.connect(url, origin=f"http://localhost:{port}", proxy=None)
        await connection.recv()
        await connection.send("40/_event,{}")
        socket = cls(connection)
        await socket.read(0.5)
        return socket

    async def call(
        self, handler: str, payload: dict[str, Any], *, wait_s: float = 0.15, address: str = "/"
    ) -> None:
        """Call a handler by its full name, whatever the payload is, as if the page stood at `address`."""
        router = {"pathname": address.partition("?")[0], "asPath": address, "query": {}}
        event = {"name": handler, "payload": payload, "router_data": router}
        await self._connection.send("42/_event," + json.dumps(["event", event]))
        await self.read(wait_s)

    async def read(self, wait_s: float) -> None:
        """Collect updates until nothing came for so long."""
        while True:
            try:
                message = await asyncio.wait_for(self._connection.recv(), wait_s)
            except TimeoutError:
                return
            text = str(message)
            if text == "2":
                await self._connection.send("3")
            elif text.startswith("42/_event,"):
                name, value = json.loads(text.removeprefix("42/_event,"))
                if name == "event":
                    self.updates.append(value)

    async def receive(self) -> str:
        """Return the next message, a ping answered."""
        text = str(await self._connection.recv())
        if text == "2":
            await self._connection.send("3")
        return text

    async def close(self) -> None:
        """Leave the page."""
        await self._connection.close()

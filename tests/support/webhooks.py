"""A receiver of notices: a real HTTP server that answers as it is told and remembers what came."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebhookServer:
    """Answers with `answers` in turn and then with 204.

    Attributes:
        url: where it listens.
        received: the JSON of each request, with its key and its arrival on the monotonic clock.
    """

    def __init__(self, answers: Sequence[int] = (), location: str = "") -> None:
        self.received: list[dict[str, Any]] = []
        self._answers = list(answers)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code = owner._answers.pop(0) if owner._answers else 204
                owner.received.append(
                    {
                        **json.loads(body),
                        "key": self.headers["Idempotency-Key"],
                        "arrived": time.monotonic(),
                        "answer": code,
                    }
                )
                self.send_response(code)
                if location:
                    self.send_header("Location", location)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?token=abc"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """What was answered with success."""
        return [request for request in self.received if request["answer"] < 300]

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""The worker process of a chat: `python -m backprop_core.engine.chat`, its spec on the first line of its input.

Ends when its input closes, when nobody asked it for long, and when training needs its card.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

from backprop_core import platform
from backprop_core.config.chats import ChatMessage, ChatSpec, Ready, Refused, ReplyOrder, Sampling
from backprop_core.engine.chat.channel import open_channel
from backprop_core.engine.chat.serving import ChatModel, serve
from backprop_core.engine.failures import known_failure
from backprop_core.errors import RunError
from backprop_core.redact import RedactingFormatter


def main() -> int:
    """Load the model of the spec and answer; return the exit code of the process."""
    platform.utf8_console()
    channel = open_channel()
    _log_to_stderr()
    slot = Path(os.environ["BACKPROPAGATE_HOME"]) / "slot.lock"
    began = time.monotonic()
    try:
        model = _load(channel.spec, slot)
        _warm_up(model)
    except Exception as error:
        known = known_failure(error) or RunError("RUNTIME_CHAT_FAILED", f"The model was not loaded: {error}")
        logging.getLogger(__name__).error("%s", known, exc_info=error)
        channel.say(Refused(id=None, error=known.record()))
        return known.exit_code
    channel.say(
        Ready(
            device=model.device,
            context_tokens=model.context_tokens,
            seconds=round(time.monotonic() - began, 2),
        )
    )
    serve(channel, model, channel.spec.idle_s)
    return 0


def _load(spec: ChatSpec, slot: Path) -> ChatModel:
    """Return the model; each engine imports its own libraries."""
    if spec.engine == "gguf":
        from backprop_core.engine.chat.gguf_model import load_gguf

        return load_gguf(spec)
    from backprop_core.engine.chat.torch_model import load_torch

    return load_torch(spec, slot)


def _warm_up(model: ChatModel) -> None:
    """Answer once to nobody: the first reply of a process is several times slower than the next."""
    hello = ChatMessage(role="user", content="Hello")
    reply = model.reply(ReplyOrder(id=0, messages=(hello,), sampling=Sampling(max_tokens=2)))
    while reply.reason is None:
        reply.advance()
    reply.close()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)


if __name__ == "__main__":
    # Nothing that an engine still does is worth waiting for.
    os._exit(main())

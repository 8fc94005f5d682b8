"""Opens the store for a command, and says which variables of ours set nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backprop_core.workspace import Workspace


@contextlib.contextmanager
def workspace() -> Iterator[Workspace]:
    """Yield the Workspace of this machine.

    Raises:
        ConfigError: a setting cannot be used.
        StateError: the home cannot hold a store.
    """
    from backprop_core.config.settings import unknown_variables
    from backprop_core.services.opening import open_workspace
    from backpropagate.cli.render import talk

    for error in unknown_variables():
        talk(f"warning: {error.message} {error.hint}")
    ws = open_workspace()
    try:
        yield ws
    finally:
        ws.close()

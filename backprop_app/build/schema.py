"""Prints Reflex's hash of the state tree; run as a module from a folder that holds `rxconfig.py`."""

from __future__ import annotations

import sys


def state_schema() -> str:
    """Return the hash of every state name, var type and handler of the app."""
    from backprop_app.app import app

    with app.set_contexts():
        return str(app._state._to_frontend_schema())


if __name__ == "__main__":
    sys.stdout.write(f"{state_schema()}\n")

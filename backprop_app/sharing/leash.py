"""Runs a program and ends it when its own input ends, so that no tunnel outlives the app.

Started by file path as a process of its own; knows nothing of the product. A tunnel that went on after the
app was killed would lead to whatever takes the port next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

_PATIENCE_S = 3.0


def main(command: list[str]) -> int:
    """Run `command` until it ends or standard input does; return its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def watch() -> None:
        # Not through a file object, whose lock would stand in the way at the end of this process.
        while os.read(0, 4096):
            pass
        child.terminate()
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(abs(main(sys.argv[1:])))

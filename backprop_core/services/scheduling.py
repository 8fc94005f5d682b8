"""The scheduler as a process of its own: `python -m backprop_core.services.scheduling`.

Joins the queue of `jobs` with what only services can do: the exports that are to come after a run.
"""

from __future__ import annotations

import logging
import signal
import sys

from backprop_core.jobs.launcher import ProcessLauncher
from backprop_core.jobs.scheduler import run_scheduler
from backprop_core.redact import RedactingFormatter
from backprop_core.services.chaining import submit_due
from backprop_core.workspace import Workspace


def main() -> None:
    """Run the scheduler of the home that the environment names."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ws = Workspace.open(ProcessLauncher())
    try:
        run_scheduler(ws, follow_up=submit_due)
    finally:
        ws.close()


if __name__ == "__main__":
    main()

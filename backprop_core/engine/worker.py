"""The worker process of one run: `python -m backprop_core.engine.worker RUN_DIR`.

Takes the run's lock, listens to the system's order to end, runs one attempt and ends. Its output
goes to the run's log; what the run has to say stands in the journal.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from backprop_core import platform
from backprop_core.engine.context import RunContext, open_run
from backprop_core.engine.control import AttemptEnded
from backprop_core.engine.execution import execute
from backprop_core.errors import BackpropagateError, ExitCode, StateError
from backprop_core.redact import RedactingFormatter
from backprop_core.runs.store import DEVICE_LANE

EXIT_REFUSED: Final = 3


def main(arguments: list[str]) -> int:
    """Run one attempt of the run in `arguments[0]` and return the exit code of the process.

    0: the run ended as wished. 3: the run is another worker's; nothing was touched.
    130: ended by the system. Else the exit code of the error that stands in the journal.
    """
    platform.utf8_console()
    _log_to_stderr()
    home = Path(os.environ["BACKPROPAGATE_HOME"])
    try:
        with open_run(Path(arguments[0]), home, launch_id=os.environ["BACKPROPAGATE_LAUNCH_ID"]) as context:
            print(f"run_started run_id={context.info.run_id}", file=sys.stderr, flush=True)  # noqa: T201
            return _attempt(context)
    except StateError as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_REFUSED if error.code == "STATE_RUN_LOCKED" else error.exit_code


def _attempt(context: RunContext) -> int:
    _listen(context)
    _quiet_libraries()
    try:
        if context.info.kind in DEVICE_LANE:
            _use_physical_cores()
        execute(context, logs_to_file=False)
    except BackpropagateError as error:
        return error.exit_code
    return ExitCode.INTERRUPTED if context.control.is_interrupted else ExitCode.OK


def _listen(context: RunContext) -> None:
    """End at the next step boundary when the system says so, or at once outside the loop."""

    def on_order(number: int, frame: FrameType | None) -> None:
        is_repeated = context.control.is_interrupted
        context.control.ordered.set()
        # Raised in the middle of an event, it would leave the journal and its counter apart.
        is_safe = not context.position.is_busy and not context.journal.is_writing
        if is_safe and not is_repeated:
            raise AttemptEnded("interrupted", "the system ended the process")

    signal.signal(signal.SIGTERM, on_order)
    signal.signal(signal.SIGINT, on_order)


def _quiet_libraries() -> None:
    """Set what the libraries read when they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def _use_physical_cores() -> None:
    from backprop_core.engine.devices import use_physical_cores

    use_physical_cores()


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

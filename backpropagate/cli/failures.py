"""How a command says that it failed: code, sentence, next step, and the exit code."""

from __future__ import annotations

import logging
import os
import traceback

from backprop_core.errors import BackpropagateError, ExitCode, InputError, InternalError
from backprop_core.redact import redact
from backpropagate.cli.logs import FILE_ONLY

_log = logging.getLogger(__name__)


def as_known(error: Exception) -> BackpropagateError:
    """Return `error` as one of ours; what nobody foresaw becomes INTERNAL."""
    if isinstance(error, BackpropagateError):
        return error
    return InternalError("INTERNAL", f"{type(error).__name__}: {error}")


def usage_error(message: str, command_path: str) -> BackpropagateError:
    """Return the error for a command line that cannot be understood."""
    return InputError(
        "INPUT_VALIDATION_FAILED",
        message if message.endswith((".", "?")) else f"{message}.",
        hint=f"`{command_path} --help` lists what it takes.",
    )


def show_failure(error: BackpropagateError, *, verbose: bool) -> ExitCode:
    """Print an error on standard error and return the exit code that belongs to it.

    The traceback goes to the terminal only when it is asked for, unredacted, and to the log file,
    where there is one, redacted.
    """
    from backpropagate.cli.render import talk

    talk(f"[{error.code}]: {redact(error.message)}", style="bold red")
    if error.hint:
        talk(f"hint: {error.hint}")
    if logging.getLogger().hasHandlers():
        _log.error("command failed: %s", error, exc_info=error, extra=FILE_ONLY)
    if verbose or os.environ.get("BACKPROPAGATE_DEBUG", "").lower() in {"1", "true", "yes", "on"}:
        talk("".join(traceback.format_exception(error)).rstrip())
    return error.exit_code

"""The `backprop` command: puts the groups together, and the one place where a command's failure ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from backprop_core import platform
from backprop_core.errors import ExitCode
from backprop_core.version import __version__
from backpropagate.cli import root

PROGRAM: Final = "backprop"

# typer keeps the class of its usage errors to itself; it is the parent of this one.
_UsageError: Final[type[BaseException]] = typer.BadParameter.__bases__[0]


def build_app() -> typer.Typer:
    """Return the command with every group in it."""
    from backpropagate.cli import (
        auth,
        chat,
        config,
        data,
        estimate,
        evaluation,
        export,
        models,
        multi_run,
        ollama,
        proof,
        push,
        queue,
        report,
        runs,
        steering,
        storage,
        system,
        train,
        ui,
    )

    app = typer.Typer(
        help="Fine-tune a language model on one consumer GPU and ship it to Ollama.",
        epilog="Runs go on when the terminal is closed; `backprop list-runs` shows them.",
        context_settings={"help_option_names": ["--help", "-h"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    for group in (
        train,
        multi_run,
        export,
        proof,
        push,
        evaluation,
        chat,
        queue,
        runs,
        report,
        steering,
        estimate,
        data,
        models,
        ollama,
        storage,
        ui,
        auth,
        system,
        config,
    ):
        group.add_to(app)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"backpropagate {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    verbose: root.VERBOSE = False,
    log_level: root.LOG_LEVEL = None,
    log_format: root.LOG_FORMAT = None,
    log_file: root.LOG_FILE = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj.take(
        {"verbose": verbose, "log_level": log_level, "log_format": log_format, "log_file": log_file}
    )
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from backpropagate.cli.failures import as_known, show_failure

    platform.utf8_console()
    options = root.RootOptions()
    command = typer.main.get_command(build_app())
    try:
        code = command.main(
            args=None if arguments is None else list(arguments),
            prog_name=PROGRAM,
            standalone_mode=False,
            obj=options,
        )
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except _UsageError as error:
        return _refuse(error)
    except Exception as error:  # noqa: BLE001 - the command line's one catch-all
        return show_failure(as_known(error), verbose=options.verbose)
    return code if isinstance(code, int) else ExitCode.OK


def _refuse(error: Any) -> ExitCode:
    """Say what is wrong with a command line; a group without a command has shown its help already."""
    from backpropagate.cli.failures import show_failure, usage_error

    message = error.format_message()
    if not message:
        return ExitCode.USER
    command_path = PROGRAM if error.ctx is None else error.ctx.command_path
    return show_failure(usage_error(message, command_path), verbose=False)


if __name__ == "__main__":
    sys.exit(main())

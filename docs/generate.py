"""Writes the references of the command line, settings, errors and events from the live program.

`python docs/generate.py` writes them; a test compares them with what it would write.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.presets import MODEL_PRESETS
from backprop_core.config.schema import ENV_PREFIX, SchemaField, train_fields
from backprop_core.config.settings import Settings
from backprop_core.config.specs import PRESETS
from backprop_core.errors import CATALOGUE, ExitCode
from backprop_core.events.types import BODY_BY_TYPE, JOURNAL_VERSION, Body
from backpropagate.cli import references
from backpropagate.cli.main import PROGRAM, build_app
from backpropagate.cli.options import default_text

_FOLDER: Final = Path(__file__).parent / "reference"
_NOTE: Final = "Written by `make docs` from the program itself; changes belong there."

_FIELD_COLUMNS: Final = ("Field", "Flag", "Variable", "Default", "Takes", "Meaning")
_EXIT_WORDS: Final = {
    ExitCode.OK: "the work is done",
    ExitCode.USER: "the user's mistake, usage errors included",
    ExitCode.RUNTIME: "a failure at run time",
    ExitCode.PARTIAL: "part of the work succeeded",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


def documents() -> dict[Path, str]:
    """Return every generated document by its path."""
    texts = {"cli.md": _cli(), "settings.md": _settings(), "errors.md": _errors(), "events.md": _events()}
    return {_FOLDER / name: text for name, text in texts.items()}


def _cli() -> str:
    codes = [(str(int(code)), words) for code, words in _EXIT_WORDS.items()]
    lines = [
        "# The command line",
        "",
        _NOTE,
        "",
        "Data goes to standard output, talk to standard error. Every listing has `--json` with a `schema_version`. "
        "A unique beginning of a run's id is enough. `backprop`, `backpropagate` and `python -m backpropagate` are "
        "the same command. The options `--verbose --log-level --log-format --log-file` work before and after the "
        "name of the command.",
        "",
        *_table(("Exit code", "Meaning"), codes),
    ]
    for path, command in _commands(typer.main.get_command(build_app()), PROGRAM):
        lines += ["", *_command(path, command)]
    return "\n".join(lines) + "\n"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that is listed, groups before their members."""
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        if not member.hidden:
            yield from _commands(member, f"{path} {name}")


def _command(path: str, command: Any) -> list[str]:
    params = [param for param in command.params if param.name != "help"]
    # The options of every command are told once, at the program itself.
    if path != PROGRAM:
        params = [param for param in params if getattr(param, "rich_help_panel", None) != "Everywhere"]
    arguments = [param for param in params if param.param_type_name == "argument"]
    options = [param for param in params if param.param_type_name == "option"]
    usage = " ".join(
        [path, *(_argument_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])]
    )
    if hasattr(command, "commands"):
        usage = f"{path} [OPTIONS] COMMAND"
    lines = [f"## {path}", "", "```", usage, "```", "", inspect.cleandoc(command.help or "")]
    if arguments:
        rows = [(f"`{argument.metavar}`", _cell(argument.help)) for argument in arguments]
        lines += ["", *_table(("Argument", "Meaning"), rows)]
    if options:
        rows = [(_option_names(option), _cell(option.help)) for option in options]
        lines += ["", *_table(("Option", "Meaning"), rows)]
    return lines


def _argument_usage(argument: Any) -> str:
    return str(argument.metavar) if argument.required else f"[{argument.metavar}]"


def _option_names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    metavar = f" {option.metavar}" if option.metavar else ""
    return f"`{' '.join(names)}{metavar}`".replace("|", "\\|")


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        _NOTE,
        "",
        "A value named in Python wins over a flag, a flag over the environment, the environment over `config.toml`, "
        "and that over the default. A preset ranks with the source that chose it, just below that source's own "
        "fields. `backprop config show` tells where each value came from.",
        "",
        "In `config.toml` the two parts of a variable are table and key: `BACKPROPAGATE_TRAINING__STEPS` is `steps` "
        "in `[training]`; `backprop config set training.steps 200` writes it.",
        "",
        "## A training run",
        "",
        "The first column is the keyword of `Trainer` and `Trainer.train`.",
        "",
        *_table(_FIELD_COLUMNS, _field_rows(train_fields())),
        "",
        "## A campaign",
        "",
        "What `backprop multi-run` and `Trainer.multi_run` take besides the fields of a run, of which steps and "
        "rows count for one leg.",
        "",
        *_table(_FIELD_COLUMNS, _field_rows(campaign_fields())),
        "",
        "## LoRA presets",
        "",
        *_table(("Preset", "Sets"), _preset_rows()),
        "",
        "## Model presets",
        "",
        *_table(("Key", "Model", "Licence", "Needs", "Note"), _model_rows()),
        "",
        "## The installation",
        "",
        *_table(("Variable", "Default", "Meaning"), _installation_rows()),
    ]
    return "\n".join(lines) + "\n"


def _field_rows(fields: Iterable[SchemaField]) -> list[Sequence[str]]:
    return [
        (
            f"`{field.name}`",
            f"`{field.flag.split('/')[0]}`",
            f"`{field.env}`",
            _code(default_text(field)),
            _takes(field.kind, field.limits, field.choices),
            _cell(field.description),
        )
        for field in fields
    ]


def _preset_rows() -> list[Sequence[str]]:
    return [
        (f"`{name}`", ", ".join(f"`{key}` {value}" for key, value in values.items()))
        for name, values in PRESETS.items()
    ]


def _model_rows() -> list[Sequence[str]]:
    return [
        (
            f"`{model.key}`",
            model.hub_id,
            model.licence + (", gated" if model.is_gated else ""),
            f"about {model.vram_gb} GB" if model.vram_gb else "a processor",
            _cell(model.licence_note),
        )
        for model in MODEL_PRESETS
    ]


def _installation_rows() -> list[Sequence[str]]:
    names = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    return [
        (f"`{variable.name}`", _code(variable.default), _cell(variable.meaning))
        for variable in references.environment_variables()
        if variable.name in names
    ]


def _errors() -> str:
    lines = [
        "# Error codes",
        "",
        _NOTE,
        "",
        "A failure prints `[CODE]: message` and `hint: ...` on standard error. `--verbose` or `BACKPROPAGATE_DEBUG=1` "
        "adds the traceback. Codes are stable; `backprop info --error-codes` lists them too.",
    ]
    for code, kind in CATALOGUE.items():
        again = "Trying again can help." if kind.retryable else "Trying again alone does not help."
        lines += [
            "",
            f"## {code}",
            "",
            kind.cause,
            "",
            f"- {kind.hint}",
            f"- Exit code {int(kind.exit_code)}. {again}",
        ]
    return "\n".join(lines) + "\n"


def _events() -> str:
    lines = [
        "# Events",
        "",
        _NOTE,
        "",
        f"A run's journal `events.jsonl` holds one JSON object per line, version {JOURNAL_VERSION}. Each has `v`, `seq` "
        "(counts from 1 without a gap), `ts` (wall time with zone), `mono` (monotonic seconds, for durations within an "
        "attempt), `type`, and the fields below. Readers skip types that they do not know.",
    ]
    for name, body in BODY_BY_TYPE.items():
        lines += ["", f"## {name}", "", *_body(body)]
    return "\n".join(lines) + "\n"


def _body(body: type[Body]) -> list[str]:
    words, _, attributes = inspect.cleandoc(body.__doc__ or "").partition("\nAttributes:\n")
    meanings = _meanings(attributes)
    rows = [
        (
            f"`{name}`",
            f"`{_type_words(field.annotation)}`".replace("|", "\\|"),
            _cell(meanings.get(name)),
        )
        for name, field in body.model_fields.items()
        if name != "type"
    ]
    durable = ["", "Reaches the disk before the work goes on."] if body.durable else []
    table = ["", *_table(("Field", "Type", "Meaning"), rows)] if rows else []
    return [words.strip(), *durable, *table]


def _meanings(attributes: str) -> dict[str, str]:
    """Return the text of each attribute in the section of a docstring, written as `a, b: words`."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", "\n" + attributes):
        names, _, text = entry.partition(": ")
        found.update({name.strip(): " ".join(text.split()) for name in names.split(",")})
    return found


def _type_words(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("NoneType", "None")


def _takes(kind: str, limits: str, choices: Sequence[str]) -> str:
    words = [limits] if limits else []
    words += [f"`{choice}`" for choice in choices]
    return ", ".join(words) or {"bool": "on, off", "text": "text"}[kind]


def _code(text: str | None) -> str:
    return "–" if text in {None, "–"} else f"`{text}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def main() -> None:
    """Write every document."""
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

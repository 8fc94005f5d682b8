"""What Ollama is told about a model besides its weights, as a Modelfile and as the body of a request.

Closed: only the fields below can appear, and no text from outside can add an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backprop_core.errors import InputError

_NAME: Final = re.compile(
    r"(?:[a-z0-9][a-z0-9_-]{0,63}/)?[a-z0-9][a-z0-9._-]{0,63}(?::[A-Za-z0-9][A-Za-z0-9._-]{0,31})?"
)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][\w. -]{0,200}\.gguf", re.ASCII)
_STOP: Final = re.compile(r'[^"\r\n]{1,64}')


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is to be run.

    Attributes:
        context_tokens: context length, None for the server's default.
        system: the system prompt that the model was trained with, if one for all rows.
        template: a Go template, for servers that cannot use the file's own.
        stops: texts that end a reply, for the same servers.
    """

    context_tokens: int | None = None
    system: str | None = None
    template: str | None = None
    stops: tuple[str, ...] = ()


def require_name(name: str) -> str:
    """Return `name` when Ollama and every command line take it as a plain model name.

    Raises:
        InputError: it is no such name.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{name[:80]!r} is no Ollama model name.",
            hint="Use lower-case letters, digits, dots, dashes and underscores, for example my-model or my-model:v2.",
        )
    return name


def modelfile(model_file: str, recipe: Recipe, adapter_file: str | None = None) -> str:
    """Return the text of a Modelfile for files that lie beside it.

    Args:
        model_file: name of the GGUF file.
        recipe: how to run it.
        adapter_file: name of a LoRA adapter GGUF.

    Raises:
        InputError: a text would end its quotation and become instructions.
    """
    lines = [f"FROM ./{_plain_file(model_file)}"]
    if adapter_file is not None:
        lines.append(f"ADAPTER ./{_plain_file(adapter_file)}")
    if recipe.context_tokens is not None:
        lines.append(f"PARAMETER num_ctx {recipe.context_tokens:d}")
    lines += [f'PARAMETER stop "{_plain_stop(stop)}"' for stop in recipe.stops]
    if recipe.template is not None:
        lines.append(f"TEMPLATE {_quoted(recipe.template, 'template')}")
    if recipe.system is not None:
        lines.append(f"SYSTEM {_quoted(recipe.system, 'system prompt')}")
    return "\n".join(lines) + "\n"


def create_request(
    name: str, recipe: Recipe, model: Mapping[str, str], adapter: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the body of `/api/create`.

    Args:
        name: of the model, checked.
        recipe: how to run it.
        model: file name to `sha256:...` of the base.
        adapter: the same for a LoRA adapter.
    """
    body: dict[str, Any] = {"model": require_name(name), "files": dict(model), "stream": True}
    if adapter:
        body["adapters"] = dict(adapter)
    parameters: dict[str, Any] = {}
    if recipe.context_tokens is not None:
        parameters["num_ctx"] = recipe.context_tokens
    if recipe.stops:
        parameters["stop"] = list(recipe.stops)
    optional = {"template": recipe.template, "system": recipe.system, "parameters": parameters or None}
    return body | {key: value for key, value in optional.items() if value is not None}


def _plain_file(name: str) -> str:
    if _FILE_NAME.fullmatch(name) is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{name[:80]!r} cannot stand in a Modelfile as a file name."
        )
    return name


def _plain_stop(stop: str) -> str:
    if _STOP.fullmatch(stop) is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{stop[:80]!r} cannot stand in a Modelfile as a stop text."
        )
    return stop


def _quoted(content: str, what: str) -> str:
    """Return a text in triple quotes; Modelfiles know no escape for them inside."""
    if '"""' in content or "\0" in content:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f'The {what} holds """, which cannot be written into a Modelfile.',
            hint="Register over HTTP with `backprop ollama register`; that needs no quoting.",
        )
    return f'"""{content}"""'

"""One GGUF file, or a base with an adapter, made into a model that `ollama run NAME` starts.

The files stay where they are, whatever happens; a failed registration can simply be repeated, and what
was already uploaded is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from backprop_core import files
from backprop_core.errors import RunError
from backprop_core.ollama.client import OllamaClient, Progress, ShouldCancel
from backprop_core.ollama.modelfile import Recipe, create_request, require_name
from backprop_core.ollama.templates import family_of, uses_own_template

_PROBE: Final = ({"role": "user", "content": "Say hello."},)
_PROBE_TOKENS: Final = 32
# Older servers can be made to read outside a hostile file's bounds.
_SAFE_READER_SINCE: Final = (0, 17, 1)
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class CheckedGguf(Protocol):
    """A GGUF file whose structure was checked; nothing else is ever handed to a server."""

    @property
    def path(self) -> Path:
        """Where the file lies."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its keys, the chat template among them."""
        ...

    def context_for(self, trained_tokens: int) -> int:
        """Return a context length for a model trained on `trained_tokens` per row."""
        ...


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered model.

    Attributes:
        name: what `ollama run` takes.
        server_version: of the server.
        recipe: what it was told besides the weights.
        reply: the model's answer to a short probe, empty when none was asked for.
        warnings: what the user should know, as sentences.
    """

    name: str
    server_version: str
    recipe: Recipe
    reply: str
    warnings: tuple[str, ...]


def plan_recipe(
    model: CheckedGguf,
    *,
    system: str | None = None,
    trained_tokens: int | None = None,
    server_version: str = "",
) -> Recipe:
    """Return how a server should run a model.

    Args:
        model: the file.
        system: the system prompt, when all rows of the training shared one.
        trained_tokens: tokens per row in training, for the context length.
        server_version: empty when not known; then the recipe suits old servers too.
    """
    context = None if trained_tokens is None else model.context_for(trained_tokens)
    family = family_of(str(model.metadata.get("tokenizer.chat_template", "")))
    if family is None or uses_own_template(server_version):
        return Recipe(context, system)
    return Recipe(context, system, family.template, family.stops)


def register(
    model: CheckedGguf,
    name: str,
    client: OllamaClient,
    *,
    adapter: CheckedGguf | None = None,
    system: str | None = None,
    trained_tokens: int | None = None,
    tries_chat: bool = True,
    progress: Progress | None = None,
    should_cancel: ShouldCancel | None = None,
) -> Registration:
    """Register a model with Ollama and hear it answer.

    Args:
        model: the checked file.
        name: the model's name in Ollama; an older model of that name is replaced.
        client: the server.
        adapter: a checked adapter file to run on top.
        system: the system prompt, when all rows of the training shared one.
        trained_tokens: tokens per row in training, for the context length.
        tries_chat: whether the model must answer a short probe before this returns.
        progress: receives done bytes, total bytes and the phase: `hashing`, `uploading`, `creating`, `testing`.
        should_cancel: asked between chunks.

    Raises:
        InputError: the name cannot be used.
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED; the files are kept and it can be repeated.
        RunError: RUNTIME_EXPORT_CANCELLED.
    """
    require_name(name)
    version = client.version()
    recipe = plan_recipe(model, system=system, trained_tokens=trained_tokens, server_version=version)
    base = _sent(model.path, client, progress, should_cancel)
    extra = None if adapter is None else _sent(adapter.path, client, progress, should_cancel)
    _report(progress, "creating")
    client.create(create_request(name, recipe, base, extra))
    client.show(name)
    reply = ""
    if tries_chat:
        _report(progress, "testing")
        reply = client.chat(name, _PROBE, tokens_max=_PROBE_TOKENS)
    return Registration(name, version, recipe, reply, _warnings(version, reply, tries_chat))


def _sent(
    path: Path, client: OllamaClient, progress: Progress | None, should_cancel: ShouldCancel | None
) -> dict[str, str]:
    """Upload a file unless the server has it; return file name to digest."""
    size_bytes = path.stat().st_size

    def hashed(done_bytes: int) -> None:
        if should_cancel is not None and should_cancel():
            raise RunError("RUNTIME_EXPORT_CANCELLED", "The registration with Ollama was cancelled.")
        if progress is not None:
            progress(done_bytes, size_bytes, "hashing")

    digest = files.sha256_of(path, progress=hashed)
    if not client.has_blob(digest):
        client.upload_blob(path, digest, progress=progress, should_cancel=should_cancel)
    return {path.name: f"sha256:{digest}"}


def _report(progress: Progress | None, phase: str) -> None:
    if progress is not None:
        progress(0, 0, phase)


def _warnings(version: str, reply: str, tried_chat: bool) -> tuple[str, ...]:
    warnings = []
    match = _VERSION.match(version)
    if match is not None and tuple(map(int, match.groups())) < _SAFE_READER_SINCE:
        warnings.append(f"Ollama {version} reads hostile model files unsafely; update it.")
    if tried_chat and not reply.strip():
        warnings.append("The model answered the probe with nothing.")
    return tuple(warnings)

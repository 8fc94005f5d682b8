"""The records that cross the border of this package, and the shape of its progress calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

ModelSource: TypeAlias = Literal["folder", "cache", "hub", "wheel", "gguf"]
"""Where a resolved model came from this time."""

Progress: TypeAlias = Callable[[int, int | None, str], None]
"""Receives bytes done, bytes in all when known, and the phase.

Phases are `waiting` (another process prepares the same model), `downloading`, `unpacking`, `reading` and
`converting`. Calls may come from another thread, never from two at once. An exception raised in it cancels the work; nothing half-done stays behind under a final name.
"""


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A whole model on this machine.

    Attributes:
        id: hub id, or the stem of the GGUF file it was made of.
        path: the folder with config.json.
        size_bytes: of all its files.
        source: `hub`, `wheel` or `gguf` for our own cache; `hf-cache` for the cache that other
            Hugging Face tools share, which is only ever read.
        revision: commit on the hub, or digest of the file it was made of; None when unknown.
    """

    id: str
    path: Path
    size_bytes: int
    source: Literal["hub", "wheel", "gguf", "hf-cache"]
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model folder that can be loaded.

    Attributes:
        id: hub id for models of the hub, else the path as given.
        path: the folder with config.json, tokenizer and safetensors.
        source: where it came from this time.
        revision: commit or digest, None for a plain folder.
        licence: as the preset table or the GGUF file names it, None when unknown.
    """

    id: str
    path: Path
    source: ModelSource
    revision: str | None
    licence: str | None


@dataclass(frozen=True, slots=True)
class DownloadForecast:
    """What a run will fetch before it can start.

    Attributes:
        needed: whether anything must be fetched.
        bytes: how much, None when it cannot be known without asking the network.
        source: `hub` or `wheel` when something is fetched, else `none`.
    """

    needed: bool
    bytes: int | None
    source: Literal["none", "hub", "wheel"]


def no_progress(done_bytes: int, total_bytes: int | None, phase: str) -> None:
    """Receive progress and do nothing with it."""

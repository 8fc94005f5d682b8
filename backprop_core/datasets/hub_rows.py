"""Data sets of the hub, streamed into a local file by a child process.

The `datasets` library is imported only there. A token travels through a pipe, never in an
environment or on a command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from backprop_core.datasets.child import Child, ChildFailed
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.errors import BackpropagateError, DependencyError, InputError

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
_ID: Final = re.compile(rf"{_PART}/{_PART}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_SPLIT: Final = re.compile(r"[A-Za-z0-9_.:%+\[\]-]{1,100}")
_MEMORY_BYTES: Final = 4 << 30
_SILENCE_S: Final = 120.0
_ENVIRONMENT: Final = (
    "HOME",
    "USERPROFILE",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_CACHE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)


@dataclass(frozen=True, slots=True)
class HubSource:
    """What to fetch from the hub.

    Args:
        repo: `owner/name`.
        split: which split.
        config: which configuration; the only one when None.
        revision: branch, tag or commit; the main branch when None.
        limit: rows to take; None for all.
    """

    repo: str
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    limit: int | None = None


def is_hub_dataset(text: str) -> bool:
    """Return whether `text` is a well-formed `owner/name` of the hub."""
    return bool(_ID.fullmatch(text)) and not any(bad in text for bad in ("..", "--"))


def hub_lines(
    source: HubSource, *, token: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[bytes]:
    """Yield the rows of a data set of the hub as JSON lines, several at a time.

    Args:
        source: what to fetch.
        token: for gated data sets.
        limits: sizes at which fetching stops.

    Raises:
        InputError: INPUT_DATASET_NOT_FOUND, no such data set or split, or the hub does not answer;
            INPUT_DATASET_FORMAT_UNSUPPORTED, it holds images or other bytes;
            INPUT_DATASET_INVALID, it is too large.
        DependencyError: DEP_EXTRA_MISSING, the `datasets` library is not installed.
    """
    _check(source)
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    request = {**asdict(source), "token": token, "row_bytes": limits.row_bytes, "columns": limits.columns}
    fetched = 0
    with Child("hub", [], memory_bytes=_MEMORY_BYTES, environment=environment) as child:
        try:
            child.tell(orjson.dumps(request))
            for piece in child.output(silence_s=_SILENCE_S):
                fetched += len(piece)
                if fetched > limits.decoded_bytes:
                    raise InputError(
                        "INPUT_DATASET_INVALID",
                        f"{source.repo!r} is larger than {limits.decoded_bytes / 1e9:.1f} GB.",
                        hint="Take fewer rows of it.",
                    )
                yield piece
        except ChildFailed as failure:
            raise _as_error(failure, source) from failure


def _check(source: HubSource) -> None:
    if not is_hub_dataset(source.repo):
        raise InputError(
            "INPUT_DATASET_NOT_FOUND",
            f"{source.repo[:80]!r} is not the id of a data set on the hub.",
            hint="Ids look like `owner/name`.",
        )
    named = [
        ("configuration", source.config, _NAME),
        ("split", source.split, _SPLIT),
        ("revision", source.revision, _NAME),
    ]
    for what, value, pattern in named:
        if value is not None and not pattern.fullmatch(value):
            raise InputError("INPUT_VALIDATION_FAILED", f"{value[:80]!r} is not the name of a {what}.")


def _as_error(failure: ChildFailed, source: HubSource) -> BackpropagateError:
    match failure.word:
        case "missing":
            return InputError(
                "INPUT_DATASET_NOT_FOUND",
                f"The hub has no data set {source.repo!r} that can be read: {failure.sentence}",
                hint="Check id, configuration and split; gated data sets need a token.",
            )
        case "offline" | "slow":
            return InputError(
                "INPUT_DATASET_NOT_FOUND",
                f"The hub did not send {source.repo!r}: {failure.sentence}",
                hint="Check the network, or name a local file.",
            )
        case "unsupported":
            return InputError("INPUT_DATASET_FORMAT_UNSUPPORTED", f"{source.repo!r}: {failure.sentence}")
        case "library":
            return DependencyError("DEP_EXTRA_MISSING", "Data sets of the hub need the library `datasets`.")
        case _:
            return InputError(
                "INPUT_DATASET_INVALID", f"{source.repo!r} needs more memory than a data set may."
            )

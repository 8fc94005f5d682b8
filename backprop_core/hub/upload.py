"""Files sent to a model repository of the hub in one commit, with progress and an end at any time.

Large files are streamed by the hub's file protocol over HTTP, so that each piece is counted and can be
the last one; small ones travel inside the commit. Nothing appears in the repository before the commit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backprop_core.errors import BackpropagateError, InputError, RunError
from backprop_core.hub.site import HubSite
from backprop_core.redact import redact

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

OnBytes = Callable[[int, int], None]

_LIBRARY_LOG: Final = "huggingface_hub"


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go.

    Attributes:
        repo: owner and name.
        revision: the branch; the main one when None.
    """

    repo: str
    is_private: bool
    revision: str | None
    message: str


def upload(
    target: Target,
    files: Mapping[str, Path | bytes],
    token: str,
    *,
    check: Callable[[], None],
    on_bytes: OnBytes,
    site: HubSite | None = None,
) -> str:
    """Make the repository when it is missing, commit the files, and return the address of the commit.

    Args:
        files: content by its name in the repository.
        check: called with each piece that is read; what it raises ends the upload.
        on_bytes: receives the bytes sent so far and those of all files.

    Raises:
        RunError: HUB_PUSH_FAILED with the cause.
        InputError: INPUT_VALIDATION_FAILED, the repository is public and the push shall be private.
    """
    from huggingface_hub import HfApi

    site = site or HubSite.from_environment()
    api = HfApi(endpoint=site.endpoint, token=token)
    with _causes_named(target.repo, site), _quiet_library():
        api.create_repo(target.repo, private=target.is_private, exist_ok=True)
        _require_as_private(api, target)
        if target.revision is not None:
            api.create_branch(target.repo, branch=target.revision, exist_ok=True)
        meter = _Meter(check, on_bytes, _size(files.values()))
        with contextlib.ExitStack() as stack:
            operations = [_operation(name, content, meter, stack) for name, content in files.items()]
            meter.is_sending = True
            made = api.create_commit(
                target.repo,
                operations,
                commit_message=target.message,
                revision=target.revision,
                # The journal of the job has one writer.
                num_threads=1,
            )
    return str(made.commit_url)


class _Meter:
    """Counts the bytes that are read for sending, by file, so that a repeated file counts once."""

    def __init__(self, check: Callable[[], None], on_bytes: OnBytes, total: int) -> None:
        self.is_sending = False
        self._check, self._on_bytes, self._total = check, on_bytes, total
        self._sent: dict[int, int] = {}
        self._guard = threading.Lock()

    def read(self, key: int, position: int) -> None:
        self._check()
        if self.is_sending:
            with self._guard:
                self._sent[key] = max(position, self._sent.get(key, 0))
                self._on_bytes(min(self._total, sum(self._sent.values())), self._total)


class _MeteredFile(io.BufferedReader):
    """A file that tells how far it was read."""

    def __init__(self, path: Path, meter: _Meter) -> None:
        super().__init__(io.FileIO(path, "rb"))
        self._meter = meter

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._meter.read(id(self), self.tell())
        return data


def _operation(
    name: str, content: Path | bytes, meter: _Meter, stack: contextlib.ExitStack
) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    if isinstance(content, bytes):
        return CommitOperationAdd(name, content)
    return CommitOperationAdd(name, stack.enter_context(_MeteredFile(content, meter)))


def _size(contents: Iterable[Path | bytes]) -> int:
    return sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in contents)


def _require_as_private(api: HfApi, target: Target) -> None:
    """Refuse to put something private into a public repository."""
    if target.is_private and not api.model_info(target.repo).private:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{target.repo} is public, and what is pushed there is seen by everybody.",
            hint="Choose another repository, or push with `--public`.",
        )


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep the library's advice about its own transfer format to itself."""
    logger = logging.getLogger(_LIBRARY_LOG)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _causes_named(repo: str, site: HubSite) -> Iterator[None]:
    """Turn what the hub library raises into HUB_PUSH_FAILED with the cause."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except BackpropagateError:
        raise
    except errors.HfHubHTTPError as error:
        raise _refused(repo, site, error.response.status_code) from error
    except (errors.OfflineModeIsEnabled, httpx.TransportError, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError):
            raise _refused(repo, site, cause.response.status_code) from error
        raise _no_answer(repo, site, cause or error) from error


def _refused(repo: str, site: HubSite, status: int) -> RunError:
    cause, hint = {
        401: ("the token is not valid", "Make a token with write access, then push again with it."),
        403: (
            "the token may not write there",
            "Use a token with write access to this owner, or push to your own name.",
        ),
        404: ("there is no such owner, repository or branch", "Check the spelling of OWNER/NAME."),
        413: ("a file is too large for it", "Push a smaller type, for example q4_k_m."),
        429: ("too many requests came from this address", "Wait some minutes, then push again."),
    }.get(status, ("the hub has trouble", "Wait some minutes, then push again."))
    return RunError(
        "HUB_PUSH_FAILED", f"{site.endpoint} refused the push to {repo} with {status}: {cause}.", hint=hint
    )


def _no_answer(repo: str, site: HubSite, error: BaseException) -> RunError:
    reason = redact(str(error).strip().split("\n")[0]) or type(error).__name__
    return RunError(
        "HUB_PUSH_FAILED",
        f"Nothing was pushed to {repo}: no usable answer from {site.endpoint} ({reason}).",
        hint="Check the network and proxy, then push again; the files stay as they are.",
    )

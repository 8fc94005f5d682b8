"""The recipe of a download job: a base model comes into the cache, whole or not at all. Needs no torch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from backprop_core.engine.context import RunContext
from backprop_core.engine.outcome import Outcome
from backprop_core.hub.download import resolve_model

_POLL_S: Final = 0.2


def run_download(context: RunContext) -> Outcome:
    """Fetch the model that the spec of the job names.

    The transfer tells its progress once per ten megabytes, so that it works beside: a wish to end is
    followed at once, and the transfer ends with its next piece.

    Raises:
        BackpropagateError: with the cause; whole files that came are kept for the next try.
        AttemptEnded: the user or the system ended the job.
    """
    spec = context.folder.download_spec()
    reporter = context.phase("downloading", spec.model)

    def progress(done: int, total: int | None, phase: str) -> None:
        reporter.progress(done, total)

    transfer = ThreadPoolExecutor(1).submit(
        resolve_model, spec.model, cache_dir=context.cache_dir, progress=progress
    )
    while not transfer.done():
        wait([transfer], timeout=_POLL_S)
        context.control.check()
    return Outcome("completed", str(transfer.result().path))

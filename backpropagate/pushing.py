"""Pushes to the hub for Python programs: done in the calling process, with the journal of a job."""

from __future__ import annotations

from pathlib import Path

from backprop_core.errors import RunError
from backprop_core.services import pushes
from backprop_core.services.opening import open_workspace
from backprop_core.services.pushes import PushRequest
from backpropagate.inprocess import work_here


def push_to_hub(
    path: str | Path,
    repo_id: str,
    private: bool = True,
    *,
    include_base: bool = False,
    revision: str | None = None,
    commit_message: str | None = None,
    token_file: str | Path | None = None,
) -> str:
    """Push an exported file or folder with its card to the hub and return the address of the commit.

    Args:
        path: a GGUF file, a folder with an adapter or a model, or the id of a run.
        repo_id: owner and name; made when it is missing.
        private: make it private, and refuse one that is public.
        include_base: also the files of the base model, in `base/`.
        revision: the branch; made when it is missing.
        token_file: holds the token; HF_TOKEN, then the saved login when not given.

    Raises:
        InputError: the name, the path or the token file cannot be used.
        RunError: HUB_PUSH_FAILED with the cause.
    """
    return push_here(
        PushRequest(
            str(path),
            repo_id,
            is_private=private,
            includes_base=include_base,
            revision=revision,
            message=commit_message,
            token_file=Path(token_file) if token_file is not None else None,
        )
    )


def push_here(request: PushRequest) -> str:
    """Push in this process; Ctrl-C cancels it.

    Raises:
        BackpropagateError: what stands in the way, or why it failed or was cancelled.
    """
    ws = open_workspace()
    try:
        state = work_here(ws, pushes.prepare(ws, request, face="python", is_detached=False))
    finally:
        ws.close()
    if state.status != "completed" or state.artifact is None:
        raise RunError("HUB_PUSH_FAILED", f"The push of {state.name} was cancelled.")
    return state.artifact

"""What a command does with a run that it has put into the queue: name it, follow it, print what it made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backprop_core.errors import ExitCode
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backpropagate.cli.follow import follow_own
from backpropagate.cli.render import put, put_json, talk

if TYPE_CHECKING:
    from backprop_core.workspace import Workspace


def follow_submitted(ws: Workspace, run_id: str, *, detach: bool, as_json: bool, offset: int = 0) -> int:
    """Follow a submitted run to its end and print its result, or only its id when detached.

    Args:
        offset: bytes of the journal that belong to earlier attempts.

    Raises:
        BackpropagateError: the run failed or was lost.
    """
    talk(f"run_started run_id={run_id}")
    if detach:
        put_json("run", {"run_id": run_id}) if as_json else put(run_id)
        return ExitCode.OK
    code = follow_own(ws, run_id, offset=offset)
    detail = runs.run_detail(ws, run_id)
    if as_json:
        put_json("run", detail.as_json())
    elif detail.state.artifact:
        put(str(_result_of(Path(detail.state.folder), detail.state.artifact)))
    return code


def _result_of(folder: Path, artifact: str) -> Path:
    """Return where the user finds what a run made: the published adapter, or the artifact itself."""
    published = RunFolder(folder).info().publish_to
    return Path(published) if published else folder / artifact

"""`backprop push`: an export, an adapter or a model goes to the hub, as a job that the terminal may leave."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.services.pushes import PushRequest
    from backprop_core.workspace import Workspace


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "push")(push)


def push(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH|RUN_ID",
            help="A GGUF file, a folder with an adapter or a model, or the id of a run or export.",
            show_default=False,
        ),
    ],
    repo: Annotated[
        str, typer.Option("--repo", metavar="OWNER/NAME", help="Made when it is missing.", show_default=False)
    ],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Private ones refuse a repository that is public.")
    ] = True,
    include_base: Annotated[
        bool,
        typer.Option(
            "--include-base", help="Also the files of the base model, in base/.", show_default=False
        ),
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="The branch; made when it is missing.", show_default=False),
    ] = None,
    message: Annotated[
        str | None, typer.Option("--commit-message", help="Of the commit.", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="Holds the token alone; else HF_TOKEN, else the saved login.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Push an export, an adapter or a model with its card to the Hugging Face hub, in one commit.

    Ctrl-C once cancels: the repository stays as it is.
    """
    from backprop_core.services.pushes import PushRequest
    from backpropagate.cli.opening import workspace

    wanted = PushRequest(source, repo, private, include_base, revision, message, token_file)
    with workspace() as ws:
        return push_and_follow(ws, wanted, as_json=as_json)


def push_and_follow(ws: Workspace, wanted: PushRequest, *, as_json: bool = False) -> int:
    """Submit a push, follow it, and print the address of its commit."""
    from backprop_core.services import pushes, runs
    from backpropagate.cli.follow import follow_own
    from backpropagate.cli.render import put, put_json, talk

    job = pushes.start(ws, wanted, face="cli", start_key=str(uuid.uuid4()))
    talk(f"push_started run_id={job}")
    code = follow_own(ws, job)
    address = runs.get_run(ws, job).artifact
    if address is None or code is not ExitCode.OK:
        return code
    if as_json:
        put_json("push", {"run_id": job, "repo": wanted.repo, "commit": address})
    else:
        put(address)
    return code

"""`backprop queue`: what waits for the device, its order, and what is taken out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backpropagate.cli.root import command
from backpropagate.cli.steering import AS_JSON, RUN_ID

if TYPE_CHECKING:
    from backprop_core.services.queueing import QueueItem


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="The queue: what waits for the device, and why.", no_args_is_help=True)
    command(group, "list")(list_queue)
    command(group, "move")(move)
    command(group, "cancel")(cancel)
    app.add_typer(group, name="queue")


def list_queue(as_json: AS_JSON = False) -> None:
    """List the jobs that wait, in the order in which they will start, each with its reason."""
    from backprop_core.services import queueing
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        _show(queueing.list_queue(ws), as_json=as_json)


def move(
    run_id: RUN_ID,
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="A position from 1, or one of up, down, first, last.")
    ],
    as_json: AS_JSON = False,
) -> None:
    """Put a job that waits elsewhere in the queue."""
    from backprop_core.services import queueing
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        to = int(place) if place.isdecimal() and len(place) < 10 else place
        _show(queueing.move(ws, run_id, to), as_json=as_json)  # type: ignore[arg-type]


def cancel(run_id: RUN_ID, as_json: AS_JSON = False) -> None:
    """Take a job that waits out of the queue. `backprop resume RUN_ID` puts it at the end again."""
    from backprop_core.services import queueing
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, talk

    with workspace() as ws:
        state = queueing.cancel(ws, run_id)
    talk(f"{state.short_id} {state.name} no longer waits")
    if as_json:
        put_json("run", state.model_dump())


def _show(items: list[QueueItem], *, as_json: bool) -> None:
    from backpropagate.cli.render import put_json, table, talk
    from backpropagate.cli.run_view import local_time

    if as_json:
        put_json("queue", [item.as_json() for item in items])
        return
    rows = [
        [
            str(item.position),
            item.state.short_id,
            item.state.kind,
            item.state.name,
            item.reason,
            local_time(item.starts_at) if item.starts_at else "–",
        ]
        for item in items
    ]
    if rows:
        table(("NO", "ID", "KIND", "NAME", "WAITS", "ABOUT"), rows, numbers=("NO",))
    talk(f"{len(items)} waiting" if items else "nothing waits")

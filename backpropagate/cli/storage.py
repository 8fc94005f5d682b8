"""`backprop storage` and `backprop trash`: what takes space, what may go, and the way back."""

from __future__ import annotations

from typing import Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
YES = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "storage")(show_storage)
    group = typer.Typer(
        help="What was deleted: list, put in, restore, remove for good.", no_args_is_help=True
    )
    command(group, "list")(list_trash)
    command(group, "put")(put_in)
    command(group, "restore")(restore)
    command(group, "purge")(purge)
    app.add_typer(group, name="trash")


def show_storage(as_json: AS_JSON = False) -> None:
    """Show what takes space on this machine, and what of it may be deleted."""
    from backprop_core import units
    from backprop_core.services import storage
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put, put_json, table, talk

    with workspace() as ws:
        found = storage.report(ws)
    if as_json:
        put_json("storage", found.as_json())
        return
    areas = [[area.name, units.file_size(area.size_bytes), str(area.path)] for area in found.areas]
    table(("PLACE", "SIZE", "FOLDER"), areas, numbers=("SIZE",))
    if found.items:
        put()
        rows = [[item.key, item.name, units.file_size(item.size_bytes), item.note] for item in found.items]
        table(("KEY", "NAME", "SIZE", "NOTE"), rows, numbers=("SIZE",))
    talk(f"{units.file_size(found.room_bytes)} may still be written by the web app")


def list_trash(as_json: AS_JSON = False) -> None:
    """List what was deleted and can be taken back, newest first."""
    from backprop_core import units
    from backprop_core.services import trash
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, table, talk

    with workspace() as ws:
        entries = trash.list_entries(ws)
    if as_json:
        put_json("trash", [entry.as_json() for entry in entries])
    elif entries:
        rows = [[e.trash_id, e.kind, e.name, units.file_size(e.size_bytes), e.moved_at[:19]] for e in entries]
        table(("ID", "KIND", "NAME", "SIZE", "DELETED"), rows, numbers=("SIZE",))
    else:
        talk("the trash is empty")


def put_in(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `backprop storage` lists it.")],
) -> None:
    """Move a thing that `backprop storage` lists into the trash."""
    from backprop_core.services import storage
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    with workspace() as ws:
        item = storage.delete(ws, key)
    talk(f"{item.name} is in the trash")


def restore(trash_id: Annotated[str, typer.Argument(metavar="ID", help="Or its first characters.")]) -> None:
    """Move a thing back to where it came from; a run is listed again."""
    from backprop_core.services import trash
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    with workspace() as ws:
        entry = trash.restore(ws, trash_id)
    talk(f"{entry.name} is back in {entry.origin}")


def purge(
    trash_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="What to remove.")] = None,
    older_than: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=0, max=3650, help="What was deleted so long ago; 0 is all."),
    ] = None,
    yes: YES = False,
) -> int:
    """Remove things from the trash for good. There is no way back."""
    from backprop_core import units
    from backprop_core.errors import InputError
    from backprop_core.services import trash
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    if bool(trash_ids) == (older_than is not None):
        raise InputError("INPUT_VALIDATION_FAILED", "Name things of the trash, or an age with --older-than.")
    with workspace() as ws:
        chosen = [trash.find(ws, trash_id) for trash_id in trash_ids or ()]
        if older_than is not None:
            chosen = trash.older_than(ws, older_than)
        for entry in chosen:
            talk(f"{entry.trash_id} {entry.name}, {units.file_size(entry.size_bytes)}")
        if not chosen:
            talk("nothing to remove")
            return ExitCode.OK
        if not yes and not typer.confirm("Remove for good?", err=True):
            talk("nothing was removed")
            return ExitCode.USER
        freed = trash.purge(ws, [entry.trash_id for entry in chosen])
    talk(f"removed; {units.file_size(freed)} are free again")
    return ExitCode.OK

"""`backprop models`: the presets and what lies in the caches of this machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from backpropagate.cli.root import command


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Base models: presets and the cache of this machine.", no_args_is_help=True)
    command(group, "list")(list_models)
    command(group, "download")(download)
    command(group, "rm")(remove)
    app.add_typer(group, name="models")


def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List the presets with their licences, then every model in the caches."""
    from backprop_core import units
    from backprop_core.config.presets import MODEL_PRESETS
    from backprop_core.services import models
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put, put_json, table

    with workspace() as ws:
        cached, ggufs = models.list_cached(ws), models.list_ggufs(ws)
    here = {model.id: model for model in cached}
    if as_json:
        presets = [{**dataclasses.asdict(p), "is_cached": p.hub_id in here} for p in MODEL_PRESETS]
        found = [[dataclasses.asdict(item) for item in items] for items in (cached, ggufs)]
        put_json("models", {"presets": presets, "cached": found[0], "gguf": found[1]})
        return
    rows = [
        [
            preset.key,
            preset.hub_id,
            preset.licence + (", gated" if preset.is_gated else ""),
            units.compact(preset.parameters),
            f"~{preset.vram_gb} GB" if preset.vram_gb else "CPU",
            "cached" if preset.hub_id in here else "–",
        ]
        for preset in MODEL_PRESETS
    ]
    table(("PRESET", "MODEL", "LICENCE", "SIZE", "NEEDS", "HERE"), rows, numbers=("SIZE", "NEEDS"))
    if cached:
        put()
        kept = [[m.id, units.file_size(m.size_bytes), m.source, str(m.path)] for m in cached]
        table(("CACHED", "SIZE", "FROM", "FOLDER"), kept, numbers=("SIZE",))
    if ggufs:
        put()
        bases = [[item.path.name, units.file_size(item.size_bytes)] for item in ggufs]
        table(("BASE FOR ADAPTER EXPORTS", "SIZE"), bases, numbers=("SIZE",))


def download(name: Annotated[str, typer.Argument(metavar="NAME", help="Preset key or hub id.")]) -> None:
    """Fetch a model into the cache, whole or not at all, and print its folder."""
    from backprop_core.config.settings import load_settings
    from backprop_core.hub.download import resolve_model
    from backpropagate.cli.render import put
    from backpropagate.cli.transfer import transfer_progress

    with transfer_progress(name) as progress:
        found = resolve_model(name, cache_dir=load_settings()[0].cache_dir, progress=progress)
    put(str(found.path))


def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Preset key, hub id, or a GGUF file of the list.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Remove a model from our cache. The cache that Hugging Face tools share is only read."""
    from backprop_core import units
    from backprop_core.errors import ExitCode
    from backprop_core.services import models
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    with workspace() as ws:
        if not yes and not typer.confirm(f"Remove {name} from {ws.home / 'cache'}?", err=True):
            talk("nothing was removed")
            return ExitCode.USER
        talk(f"{name} was removed, {units.file_size(models.remove(ws, name))} are free again")
    return ExitCode.OK

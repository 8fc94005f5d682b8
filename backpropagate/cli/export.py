"""`backprop export`: submits an export job like the page does, and follows it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backprop_core.errors import ExitCode, InputError
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.services.exports import FinishedExport

Quantization = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q4_0", "q3_k_m", "q2_k"
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "export")(export)


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH|RUN_ID",
            help="A run's id, an adapter folder, or a model folder.",
            show_default=False,
        ),
    ],
    file_format: Annotated[
        Literal["gguf", "lora", "merged", "ollama-adapter"],
        typer.Option(
            "--format",
            help="gguf: one file for llama.cpp and Ollama. lora: the adapter. merged: safetensors. "
            "ollama-adapter: base and adapter as two GGUF files, made in seconds once the base is there.",
        ),
    ] = "gguf",
    quantization: Annotated[
        Quantization, typer.Option("--quantization", "-q", case_sensitive=False, help="GGUF type.")
    ] = "q4_k_m",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to make. Default: ./output/exports/<format>/<name>.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The model's name, for the file and inside it.", show_default=False),
    ] = None,
    to_ollama: Annotated[
        bool, typer.Option("--ollama", help="Register the result with Ollama.", show_default=False)
    ] = False,
    ollama_name: Annotated[
        str | None,
        typer.Option("--ollama-name", help="Its name in Ollama; implies --ollama.", show_default=False),
    ] = None,
    no_proof: Annotated[
        bool,
        typer.Option(
            "--no-proof", help="Do not compare the file with the trained model.", show_default=False
        ),
    ] = False,
    no_card: Annotated[
        bool, typer.Option("--no-model-card", help="Write no model card beside it.", show_default=False)
    ] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="OWNER/NAME",
            help="Push the result there when it is ready.",
            show_default=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--hub-token-file", help="Holds the hub's token; else HF_TOKEN or the login.", show_default=False
        ),
    ] = None,
    hub_private: Annotated[
        bool, typer.Option("--hub-private/--hub-public", help="Who may see what is pushed.")
    ] = True,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit only; print the job's id and return.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Export a trained model to a file that other programs run.

    Ctrl-C once cancels and leaves nothing behind, twice ends it at once.
    """
    from backprop_core.services import exports, runs
    from backprop_core.services.export_checks import ExportRequest
    from backprop_core.services.pushes import PushRequest
    from backpropagate.cli.follow import follow_own
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.push import push_and_follow
    from backpropagate.cli.render import put, put_json, talk

    with workspace() as ws:
        wanted = ExportRequest(
            source,
            file_format,
            quantization,
            output,
            name=name,
            ollama_name=ollama_name,
            wants_proof=not no_proof,
            wants_card=not no_card,
        )
        if repo is not None and detach:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                "--push-to-hub needs the finished file, and --detach does not wait for it.",
                hint="Leave one of them out; `backprop push` pushes a finished export.",
            )
        if to_ollama and ollama_name is None:
            wanted = exports.with_ollama_name(ws, wanted, face="cli")
        job = exports.start(ws, wanted, face="cli", start_key=str(uuid.uuid4()))
        talk(f"export_started run_id={job}")
        if detach:
            put_json("export", {"run_id": job}) if as_json else put(job)
            return ExitCode.OK
        try:
            code = follow_own(ws, job)
        finally:
            made = exports.finished(runs.get_run(ws, job))
            if made is not None:
                _show(made, as_json=as_json)
        if repo is None or made is None or code is not ExitCode.OK:
            return code
        push = PushRequest(str(made.path), repo, is_private=hub_private, token_file=token_file)
        return push_and_follow(ws, push)


def _show(made: FinishedExport, *, as_json: bool) -> None:
    """Print what was made; a job that failed with Ollama has made its file."""
    from backprop_core import units
    from backpropagate.cli.render import put, put_json, talk

    if as_json:
        put_json("export", made.as_json())
        return
    put(str(made.path))
    talk(f"{units.file_size(made.size_bytes)} in {units.duration(made.seconds)}")
    if made.is_registered:
        talk(f"ollama run {made.spec.ollama_name}")

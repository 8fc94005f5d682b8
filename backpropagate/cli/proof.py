"""`backprop proof`: compares an exported file with the trained model again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.config.proofs import Proof, ProofCheck

_VERDICTS: Final = {
    "proven": "proven: it answers as the trained model did",
    "proven_with_note": "proven, with a note",
    "not_proven": "NOT proven",
}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "proof")(proof)


def proof(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A GGUF file, or a folder that --format ollama-adapter made."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
) -> int:
    """Prove that an exported file answers as the trained model did.

    Compares structure, tokenizer, template, answers and end of turn, and writes FILE.proof.json.
    Exits with 0 for proven, with or without a note, and with 2 otherwise.
    """
    from backprop_core.services import proofs
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, talk

    with workspace() as ws:
        talk(f"proving {file}")
        found = proofs.prove(ws, file, on_check=_show_check)
    if as_json:
        put_json("proof", found.model_dump(mode="json"))
    else:
        _show(found)
    if found.verdict == "not_proven":
        from backprop_core.errors import CATALOGUE

        code = found.code or "RUNTIME_EXPORT_PROOF_FAILED"
        talk(f"[{code}]: {found.file} is not proven. {found.cause}")
        talk(f"hint: {CATALOGUE[code].hint}")
        return ExitCode.RUNTIME
    return ExitCode.OK


def _show_check(check: ProofCheck) -> None:
    from backpropagate.cli.render import talk

    talk(f"{check.status:<8} {check.name:<12} {check.cause or check.measured}")


def _show(found: Proof) -> None:
    from backpropagate.cli.render import put, table

    rows = [[check.name, check.status, check.measured, check.limit] for check in found.checks]
    table(("CHECK", "RESULT", "FOUND", "ASKED FOR"), rows)
    put(f"{found.file}: {_VERDICTS[found.verdict]} ({found.seconds:g} s)")

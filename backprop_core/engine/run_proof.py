"""The recipe of a proof job: a file that was exported before is compared with the trained model again."""

from __future__ import annotations

from pathlib import Path

from backprop_core.config.exports import card_path
from backprop_core.config.proofs import proof_path
from backprop_core.engine.context import RunContext
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.proof.in_export import prove_export
from backprop_core.model_card import write_card


def run_proof(context: RunContext) -> Outcome:
    """Prove the file that the spec of the job names and write its card anew, if it has one.

    Raises:
        RunError: RUNTIME_EXPORT_PROOF_FAILED, it does not answer as the trained model did.
        AttemptEnded: the user or the system ended the job; the older proof stays.
    """
    spec = context.folder.proof_spec()
    path = Path(spec.path)
    try:
        prove_export(
            context, path, Path(spec.model), Path(spec.adapter) if spec.adapter else None, again=True
        )
    finally:
        if card_path(path).is_file():
            write_card(path, context.cache_dir)
    return Outcome("completed", str(proof_path(path)))

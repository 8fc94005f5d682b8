"""The proof as the last but one step of an export job."""

from __future__ import annotations

from pathlib import Path

from backprop_core.config.proofs import Proof, ProofCheck, read_proof
from backprop_core.engine.context import RunContext
from backprop_core.engine.proof.prove import NAMES, prove
from backprop_core.engine.proof.subject import subject_of
from backprop_core.errors import RunError


def prove_export(
    context: RunContext, output: Path, model: Path, adapter: Path | None, *, again: bool = False
) -> None:
    """Prove what a job has made; what an earlier attempt has proven is not proven again.

    Args:
        again: prove it however settled an older proof is.

    Raises:
        RunError: RUNTIME_EXPORT_PROOF_FAILED, the file does not answer as the trained model did; it is kept.
        AttemptEnded: the user or the system ended the job.
    """
    subject = subject_of(output, model, adapter)
    proof = read_proof(output)
    is_settled = proof is not None and proof.verdict != "not_proven" and not again
    if proof is None or not is_settled or proof.sha256 != subject.file_digests.get(subject.file.name):
        reporter, done = context.phase("proving", output.name), 0

        def on_check(check: ProofCheck) -> None:
            nonlocal done
            done += 1
            reporter.progress(done, len(NAMES))

        proof = prove(subject, on_check=on_check, check_wish=context.control.check)
    _tell(context, proof)


def _tell(context: RunContext, proof: Proof) -> None:
    if proof.is_red:
        raise RunError(
            "RUNTIME_EXPORT_PROOF_FAILED",
            f"{proof.file} does not answer as the trained model did. {proof.cause}",
            hint="The file is kept beside its proof and was not given to Ollama. Export again.",
        )
    if proof.verdict == "not_proven":
        context.notice(f"{proof.file} is not proven. {proof.cause}", code=proof.code, is_warning=True)
    elif proof.verdict == "proven_with_note":
        context.notice(f"{proof.file} is proven, with a note. {proof.cause}")
    else:
        context.notice(f"{proof.file} is proven: it answers as the trained model did.")

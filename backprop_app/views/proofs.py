"""What the proof card says about one exported file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from backprop_core import units
from backprop_core.config.proofs import Proof, ProofCheck
from backprop_core.services.exports import FinishedExport

_NAMES: Final = {
    "structure": "Structure",
    "tokenizer": "Tokenizer",
    "template": "Prompt",
    "answers": "Answers",
    "end_of_turn": "Replies end",
}
_WORDS: Final = {"pass": "passed", "note": "with a note", "fail": "differs", "skipped": "not looked at"}
_TONES: Final = {"pass": "ok", "note": "warn", "fail": "danger", "skipped": ""}


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One line of the card; `tone` is ok, warn, danger or empty."""

    name: str
    word: str
    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class ProofView:
    """The card of one export; `job_id` is empty when there is none.

    Attributes:
        tone: ok for green, warn for amber, danger for red, empty for not proven.
        word: of the pill.
        title: the verdict as a sentence.
        cause: why it is no plain pass; empty when it is.
        href: of the proof as JSON; empty when there is none.
    """

    job_id: str = ""
    tone: str = ""
    word: str = "Not proven"
    title: str = ""
    lead: str = ""
    cause: str = ""
    checks: list[CheckItem] = field(default_factory=list)
    file: str = ""
    size: str = ""
    digest: str = ""
    href: str = ""


def proof_view(made: FinishedExport, proof: Proof | None) -> ProofView:
    """Return the card of an export, proven or not."""
    file, size = made.path.name, units.file_size(made.size_bytes)
    if proof is None:
        return ProofView(
            job_id=made.job_id,
            title="Nobody has compared this file with the trained model.",
            lead="The proof takes about a minute for a small model.",
            file=file,
            size=size,
        )
    tone, word, title = _verdict(proof)
    rows = f", {proof.rows}" if proof.rows else ""
    return ProofView(
        job_id=made.job_id,
        tone=tone,
        word=word,
        title=title,
        lead=f"{proof.quantization} against the trained model{rows}, {units.duration(proof.seconds)}",
        cause=proof.cause,
        checks=[_check(check) for check in proof.checks],
        file=file,
        size=size,
        digest=f"{proof.sha256[:12]} … {proof.sha256[-4:]}" if proof.sha256 else "",
        href=f"/api/exports/{made.job_id}/proof",
    )


def proof_mark(proof: Proof | None) -> tuple[str, str]:
    """Return tone and word of a proof for a list of exports."""
    if proof is None:
        return "", "not proven"
    tone, word, _ = _verdict(proof)
    return tone, word


def _verdict(proof: Proof) -> tuple[str, str, str]:
    if proof.is_red:
        return "danger", "Not proven", "This file does not answer as the trained model did."
    if proof.verdict == "proven":
        return "ok", "Proven", "This file answers as the model did in training."
    if proof.verdict == "proven_with_note":
        return "warn", "Proven, with a note", "This file answers as the model did, but for a note."
    return "", "Not proven", "Not everything about this file could be compared."


def _check(check: ProofCheck) -> CheckItem:
    text = check.cause or check.measured
    if check.status == "pass" and check.limit:
        text = f"{check.measured}; asked for: {check.limit}"
    return CheckItem(_NAMES[check.name], _WORDS[check.status], _TONES[check.status], text)

"""The result of a ship proof, and where it lies beside the exported file. Frozen; holds no judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backprop_core import files

PROOF_SUFFIX: Final = ".proof.json"
SCHEMA_VERSION: Final = 1

CheckName = Literal["structure", "tokenizer", "template", "answers", "end_of_turn"]
CheckStatus = Literal["pass", "note", "fail", "skipped"]
Verdict = Literal["proven", "proven_with_note", "not_proven"]


class ProofSpec(BaseModel):
    """One proof of a file that was exported before.

    Attributes:
        path: the export, a file or the folder of an `ollama-adapter`.
        model: folder of the base model, or of the whole model.
        adapter: folder of the adapter; None for a whole model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    model: str
    adapter: str | None = None


class ProofCheck(BaseModel):
    """One thing that was looked at.

    Attributes:
        measured: what was found, in words and figures.
        limit: what was asked for.
        cause: why it is no plain pass; one sentence, empty for a pass.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: CheckName
    status: CheckStatus
    measured: str = ""
    limit: str = ""
    cause: str = ""


class Proof(BaseModel):
    """What was found about one exported file.

    Attributes:
        code: RUNTIME_EXPORT_PROOF_FAILED when a check failed, DEP_EXTRA_MISSING when there was no
            engine to ask; else empty.
        file: name of the export that the proof lies beside.
        sha256: of the GGUF file, that of the base for an `ollama-adapter`; empty when it could not be read.
        engine: name and version of the engine that was asked.
        rows: what the answers were compared on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    code: str = ""
    checks: tuple[ProofCheck, ...]
    file: str
    quantization: str
    size_bytes: int
    sha256: str
    engine: str
    rows: str
    seconds: float
    created_at: str

    @property
    def is_red(self) -> bool:
        """Whether the file was found to differ, as against not looked at in full."""
        return any(check.status == "fail" for check in self.checks)

    @property
    def cause(self) -> str:
        """Why the verdict is no plain `proven`: the cause of the gravest checks; empty when it is."""
        for status in ("fail", "skipped", "note"):
            causes = [check.cause for check in self.checks if check.status == status]
            if causes:
                return " ".join(dict.fromkeys(causes))
        return ""


def proof_path(export: Path) -> Path:
    """Return where the proof of an export lies."""
    return export.with_name(export.name + PROOF_SUFFIX)


def write_proof(export: Path, proof: Proof) -> None:
    """Put the proof beside its export, in place of an older one."""
    files.write_json(proof_path(export), proof.model_dump(mode="json"))


def read_proof(export: Path) -> Proof | None:
    """Return the proof beside an export; None when there is none that can be read."""
    try:
        return Proof.model_validate(files.read_json(proof_path(export)))
    except (OSError, ValueError, ValidationError):
        return None

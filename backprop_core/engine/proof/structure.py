"""Whether the files are sound and, byte for byte, those that the export wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.proofs import ProofCheck
from backprop_core.engine.proof.subject import Subject
from backprop_core.errors import InputError
from backprop_core.gguf import GgufStructure, check_gguf, tensor_digest

_LIMIT: Final = "sound, and every tensor as written"
_NAMED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Structure:
    """What the files are.

    Attributes:
        is_sound: whether an engine may be given them.
        sha256: of the GGUF file.
    """

    check: ProofCheck
    is_sound: bool
    size_bytes: int
    sha256: str


def check_structure(subject: Subject) -> Structure:
    """Read the head of each file again and compare tensors and files with their digests."""
    paths = [path for path in (subject.file, subject.lora) if path is not None]
    try:
        structures = [check_gguf(path) for path in paths]
    except InputError as error:
        failed = ProofCheck(name="structure", status="fail", limit=_LIMIT, cause=error.message)
        return Structure(failed, False, sum(path.stat().st_size for path in paths if path.is_file()), "")
    digests = {path: files.sha256_of(path) for path in paths}
    count = sum(len(structure.tensors) for structure in structures)
    cause = _changed_tensors(subject, structures[-1]) or _changed_files(subject, digests)
    check = ProofCheck(
        name="structure",
        status="fail" if cause else "pass",
        measured=f"{count} tensors, {len(subject.tensor_digests)} compared by SHA-256",
        limit=_LIMIT,
        cause=cause,
    )
    size_bytes = sum(structure.size_bytes for structure in structures)
    return Structure(check, True, size_bytes, digests[subject.file])


def _changed_tensors(subject: Subject, structure: GgufStructure) -> str:
    """Return which tensors are not as written; empty when all are."""
    found = {tensor.name: tensor for tensor in structure.tensors}
    missing = sorted(subject.tensor_digests.keys() - found.keys())
    if missing:
        return f"The tensor {missing[0]} is missing."
    changed = [
        name
        for name, tensor in found.items()
        if subject.tensor_digests.get(name) != tensor_digest(structure.path, tensor)
    ]
    if not changed:
        return ""
    named = ", ".join(changed[:_NAMED_MAX]) + (", ..." if len(changed) > _NAMED_MAX else "")
    verb = "tensor is" if len(changed) == 1 else "tensors are"
    return f"{len(changed)} {verb} not as the export wrote: {named}."


def _changed_files(subject: Subject, digests: dict[Path, str]) -> str:
    """Return which file is not as written although the compared tensors are; empty when all are."""
    for path, sha256 in digests.items():
        written = subject.file_digests.get(path.name)
        if written is not None and written != sha256:
            return f"{path.name} is not the file that was exported; it was changed afterwards."
    return ""

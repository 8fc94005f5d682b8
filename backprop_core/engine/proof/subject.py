"""What is proven: the exported files, and the model and adapter that they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_core import files
from backprop_core.config.exports import gguf_parts, report_path
from backprop_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Subject:
    """An export and where it comes from.

    Attributes:
        path: the export, a file or the folder of an `ollama-adapter`.
        model: folder of the base model, or of the whole model.
        adapter: folder of the adapter that was trained; None for a whole model.
        quantization: GGUF type of the file.
        file_digests: SHA-256 of each file as it was written, by its name.
        tensor_digests: SHA-256 of each tensor as it was written; of an `ollama-adapter` those of its adapter.
        run_id: of the training run, when it is known.
    """

    path: Path
    model: Path
    adapter: Path | None
    quantization: str
    file_digests: Mapping[str, str]
    tensor_digests: Mapping[str, str]
    run_id: str | None

    @property
    def file(self) -> Path:
        """The GGUF file that the engine loads."""
        return gguf_parts(self.path)[0]

    @property
    def lora(self) -> Path | None:
        """The GGUF file of the adapter beside it, if any."""
        return gguf_parts(self.path)[1]

    @property
    def merged_adapter(self) -> Path | None:
        """The adapter when it is inside `file`."""
        return self.adapter if self.lora is None else None


def subject_of(path: Path, model: Path, adapter: Path | None) -> Subject:
    """Return the subject of an export with the digests of the report beside it.

    Raises:
        InputError: the report is missing or damaged, or tells of no GGUF export.
    """
    report = read_report(path)
    try:
        return Subject(
            path=path,
            model=model,
            adapter=adapter,
            quantization=str(report["quantization"]),
            file_digests={file["name"]: file["sha256"] for file in report["files"]},
            tensor_digests={tensor["name"]: tensor["sha256"] for tensor in report["tensors"]},
            run_id=report["run_id"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{report_path(path)} is no report of an export."
        ) from error


def read_report(path: Path) -> dict[str, Any]:
    """Return the report beside an export.

    Raises:
        InputError: the report is missing or damaged, or tells of no GGUF export.
    """
    report_file = report_path(path)
    try:
        report = files.read_json(report_file)
    except (OSError, ValueError) as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{report_file} is missing or damaged; it tells what {path.name} was made from.",
            hint="Keep the report beside the file, or export again.",
        ) from error
    if not isinstance(report, dict) or report.get("format") not in ("gguf", "ollama-adapter"):
        raise InputError("INPUT_VALIDATION_FAILED", f"{report_file} tells of no GGUF export.")
    return report

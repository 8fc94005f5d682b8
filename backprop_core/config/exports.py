"""What an export job is to do, and how its result is laid out on the disk.

Frozen, written into the folder of the job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

ExportFormat = Literal["gguf", "lora", "merged", "ollama-adapter"]

# Beside every export: its report, and the card and the Modelfile of a GGUF file.
REPORT_SUFFIX: Final = ".export.json"
CARD_SUFFIX: Final = ".README.md"
MODELFILE_SUFFIX: Final = ".Modelfile"
# Inside an `ollama-adapter`.
BASE_FILE: Final = "base.gguf"
ADAPTER_FILE: Final = "adapter.gguf"
MODELFILE: Final = "Modelfile"
CARD_FILE: Final = "README.md"


class ExportSpec(BaseModel):
    """One export of a trained adapter or a model folder.

    Attributes:
        source: folder of the adapter, or of a whole model when `base_model` is None.
        base_model: name or folder of the model the adapter belongs to.
        output: the final file or folder; it must not exist.
        quantization: a GGUF type; for `ollama-adapter` that of the base file. None where it means nothing.
        ollama_name: register the file with Ollama under this name afterwards.
        system: the system prompt that every row of the training shared, if there is one.
        trained_tokens: tokens per row in training, for the context length; None when not known.
        wants_proof: compare a GGUF export with the trained model before Ollama gets it.
        wants_card: write a model card beside it.
        evaluation: folder of the job that evaluated the run last, for the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: ExportFormat
    source: str
    base_model: str | None
    output: str
    name: str = Field(min_length=1, max_length=100)
    quantization: str | None = None
    ollama_name: str | None = None
    run_id: str | None = None
    system: str | None = None
    trained_tokens: int | None = None
    wants_proof: bool = True
    wants_card: bool = True
    evaluation: str | None = None


def report_path(export: Path) -> Path:
    """Return where the report of an export lies."""
    return export.with_name(export.name + REPORT_SUFFIX)


def card_path(export: Path) -> Path:
    """Return where the model card of an export lies: inside a folder, beside a file."""
    return export / CARD_FILE if export.is_dir() else export.with_name(export.name + CARD_SUFFIX)


def gguf_parts(export: Path) -> tuple[Path, Path | None]:
    """Return the GGUF file that an export consists of, and that of the adapter beside it, if any."""
    if export.is_dir():
        return export / BASE_FILE, export / ADAPTER_FILE
    return export, None

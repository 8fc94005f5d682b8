"""What an export job is to do. Frozen, written into the folder of the job."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ExportFormat = Literal["gguf", "lora", "merged", "ollama-adapter"]


class ExportSpec(BaseModel):
    """One export of a trained adapter or a model folder.

    Attributes:
        source: folder of the adapter, or of a whole model when `base_model` is None.
        base_model: name or folder of the model the adapter belongs to.
        output: the final file or folder; it must not exist.
        quantization: a GGUF type; for `ollama-adapter` that of the base file. None where it means nothing.
        ollama_name: register the file with Ollama under this name afterwards.
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

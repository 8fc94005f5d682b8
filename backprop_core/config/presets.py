"""The model presets: short names for base models that suit one consumer GPU.

Data only. What a preset needs on this machine's card is the planner's figure; `vram_gb` is a
round guide for a first choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_APACHE: Final = "Apache-2.0"
_LLAMA_NOTE: Final = (
    "Llama 3.2 community licence: accept it on the model page, then sign in with `hf auth login`; "
    "derived models carry the name Llama."
)


@dataclass(frozen=True, slots=True)
class ModelPreset:
    """One base model under a short name.

    Attributes:
        key: the short name, lower case.
        hub_id: owner and name on the hub.
        licence: an SPDX id where one exists, else the licence's own name.
        is_gated: whether the hub asks for a sign-in and an accepted licence.
        licence_note: what a user must know before shipping a derived model; empty when nothing.
        vram_gb: card memory for a QLoRA run at the defaults, in GB; 0 means a CPU is enough.
        parameters: number of weights.
    """

    key: str
    hub_id: str
    licence: str
    is_gated: bool
    licence_note: str
    vram_gb: int
    parameters: int


MODEL_PRESETS: Final[tuple[ModelPreset, ...]] = (
    ModelPreset("qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct", _APACHE, False, "", 12, 7_615_616_512),
    ModelPreset("qwen3.5-4b", "Qwen/Qwen3.5-4B", _APACHE, False, "", 8, 4_200_000_000),
    ModelPreset("phi-4-mini-3.8b", "microsoft/Phi-4-mini-instruct", "MIT", False, "", 8, 3_836_021_760),
    ModelPreset("smollm3-3b", "HuggingFaceTB/SmolLM3-3B", _APACHE, False, "", 6, 3_075_098_624),
    ModelPreset(
        "qwen2.5-3b",
        "Qwen/Qwen2.5-3B-Instruct",
        "Qwen-Research",
        False,
        "Research licence: commercial use of this model and of models derived from it needs Qwen's consent.",
        8,
        3_085_938_688,
    ),
    ModelPreset(
        "llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct", "Llama-3.2", True, _LLAMA_NOTE, 8, 3_212_749_824
    ),
    ModelPreset(
        "llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct", "Llama-3.2", True, _LLAMA_NOTE, 6, 1_235_814_400
    ),
    ModelPreset("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3", _APACHE, False, "", 12, 7_248_023_552),
    ModelPreset("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", _APACHE, False, "", 0, 134_515_008),
)

TUTORIAL_MODEL: Final = "smollm2-135m"


def find_preset(name: str) -> ModelPreset | None:
    """Return the preset whose key or hub id is `name`, upper and lower case alike."""
    wanted = name.casefold()
    for preset in MODEL_PRESETS:
        if wanted in (preset.key.casefold(), preset.hub_id.casefold()):
            return preset
    return None

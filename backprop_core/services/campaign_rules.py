"""What a campaign cannot be, found before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backprop_core import files
from backprop_core.config.campaigns import CampaignSpec, ResolvedCampaign
from backprop_core.config.presets import find_preset
from backprop_core.config.resolve import FieldProblem, Origin
from backprop_core.config.specs import TrainSpec


def spec_problems(train: TrainSpec, spec: CampaignSpec, origins: Mapping[str, Origin]) -> list[FieldProblem]:
    """Return which options exclude each other in a campaign."""
    found: list[tuple[str, str, str]] = []
    if train.mode == "full":
        found.append(("mode", "A campaign merges adapters; full mode has none.", "Use --mode lora."))
    if train.init_lora_weights == "pissa":
        found.append(
            (
                "init_lora_weights",
                "PiSSA changes the base that all legs share.",
                "Use --init-lora-weights default.",
            )
        )
    if train.use_dora and spec.merge_mode != "simple":
        found.append(
            (
                "use_dora",
                f"--merge-mode {spec.merge_mode} knows no DoRA magnitudes.",
                "Use --merge-mode simple.",
            )
        )
    for field, value in (("early_stopping", train.early_stopping), ("gate", spec.gate)):
        if value is not None and not spec.validation:
            found.append(
                (
                    field,
                    "Nothing is held out, so nothing is measured after a leg.",
                    "Leave --no-validate out.",
                )
            )
    files_given = len(spec.sources)
    if files_given > 1 and origins["num_runs"].source != "default" and spec.num_runs != files_given:
        found.append(
            (
                "num_runs",
                f"{spec.num_runs} legs were asked for, and {files_given} data files are given.",
                "Give one file for each leg, or one for all of them.",
            )
        )
    return [FieldProblem(field, "CONFIG_INVALID", message, hint) for field, message, hint in found]


def adapter_problems(resolved: ResolvedCampaign) -> list[FieldProblem]:
    """Return why the campaign cannot begin with the adapter that is named."""
    train = resolved.train.spec
    if train.from_adapter is None:
        return []
    try:
        config = files.read_json(Path(train.from_adapter) / "adapter_config.json")
        base, rank = str(config.get("base_model_name_or_path") or ""), config.get("r")
    except (OSError, ValueError, AttributeError):
        # That it is no adapter is found where all places are checked.
        return []
    if base and _model(base) != _model(train.model):
        message = f"The adapter {train.from_adapter} belongs to {base}, not to {train.model}."
        hint = f"Use --model {base}, or leave --from-adapter out."
        return [FieldProblem("from_adapter", "INPUT_ADAPTER_INVALID", message, hint)]
    # A preset also sets the rank; only a rank that somebody typed contradicts the adapter.
    is_asked = resolved.train.origins["lora_r"].source != "default" and not resolved.train.origins[
        "lora_r"
    ].note.startswith("preset")
    if is_asked and train.lora_r not in ("auto", rank):
        message = f"The adapter {train.from_adapter} has rank {rank}, not {train.lora_r}."
        hint = "Leave --lora-r out: a campaign keeps the rank of its first adapter."
        return [FieldProblem("from_adapter", "INPUT_ADAPTER_INVALID", message, hint)]
    return []


def _model(name: str) -> str:
    """Return one name for a model, whether it is called by preset, hub id or folder."""
    preset = find_preset(name)
    if preset is not None:
        return preset.hub_id
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name

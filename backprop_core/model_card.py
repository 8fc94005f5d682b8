"""The model card beside an export: what it is, what it learned from, how well, and how to make it again.

Gathers what report, run, proof and evaluation tell; names files, never the folders of this machine.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from backprop_core import files, units
from backprop_core.config.evaluations import Evaluation, read_evaluation
from backprop_core.config.exports import card_path, report_path
from backprop_core.config.presets import find_preset
from backprop_core.config.proofs import Proof, read_proof
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import BackpropagateError
from backprop_core.events.journal import JournalReader
from backprop_core.hub.cache import find_cached
from backprop_core.hub.licence import licence_of
from backprop_core.hub.names import is_hub_id, understand
from backprop_core.planning.commands import changed_values, cli_twin
from backprop_core.runs.series import points_of, thin
from backprop_core.runs.store import RunFolder, training_folder
from backprop_core.version import __version__

_SPARK_POINTS: Final = 40
_SPDX: Final = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0"})
_LIBRARIES: Final = {
    "gguf": "gguf",
    "ollama-adapter": "gguf",
    "lora": "peft",
    "merged": "transformers",
}
_RELATIONS: Final = {
    "gguf": "quantized",
    "ollama-adapter": "adapter",
    "lora": "adapter",
    "merged": "finetune",
}
_VERDICTS: Final = {
    "gain": "It helped.",
    "none": "No evidence of gain.",
    "worse": "It made things worse.",
}
_PROVEN: Final = {
    "proven": "Proven: the file answers as the trained model did.",
    "proven_with_note": "Proven, with a note.",
    "not_proven": "Not proven.",
}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything that a card tells.

    Attributes:
        base: id of the base model on the hub, or the name of its folder.
        losses: of the training, in order of the steps.
        shares: names and SHA-256 of the files.
    """

    name: str
    format: str
    quantization: str
    base: str
    licence: str
    licence_note: str
    run_id: str = ""
    training: TrainSpec | None = None
    data_sha256: str = ""
    losses: tuple[float, ...] = ()
    proof: Proof | None = None
    evaluation: Evaluation | None = None
    shares: tuple[tuple[str, str], ...] = field(default=())


def write_card(export: Path, cache_dir: Path, evaluation_job: Path | None = None) -> Path:
    """Write the card of an export, in place of an older one, and return its path.

    Args:
        cache_dir: where prepared base models lie.
        evaluation_job: folder of the job that evaluated its run; the one that its report names when not given.
    """
    path = card_path(export)
    files.write_text(path, render_card(gather(export, cache_dir, evaluation_job)))
    return path


def gather(export: Path, cache_dir: Path, evaluation_job: Path | None = None) -> CardFacts:
    """Return what is known about an export, or about an adapter or model folder that is none."""
    report = _read(report_path(export)) or _as_report(export)
    evaluated = evaluation_job or _path(report.get("evaluation"))
    source = Path(str(report.get("source") or export))
    run = training_folder(source, report.get("run_id"))
    base = str(report.get("base_model") or source)
    cached = find_cached(base, cache_dir)
    folder = cached.path if cached is not None else Path(base) if Path(base).is_dir() else None
    licence, note = licence_of(base, folder)
    return CardFacts(
        name=" ".join(str(report.get("name") or export.stem).split()),
        format=str(report.get("format") or "merged"),
        quantization=str(report.get("quantization") or ""),
        base=_public_name(base),
        licence=licence,
        licence_note=note,
        run_id=str(report.get("run_id") or ""),
        training=run.spec() if run is not None else None,
        data_sha256=(run.info().dataset_hash or "") if run is not None else "",
        losses=_losses(run) if run is not None else (),
        proof=read_proof(export),
        evaluation=read_evaluation(evaluated) if evaluated is not None else None,
        shares=tuple((part["name"], part["sha256"]) for part in report.get("files", ())),
    )


def render_card(facts: CardFacts) -> str:
    """Return the text of a card: front matter of the hub, then Markdown."""
    parts = [_front_matter(facts), f"# {facts.name}", _summary(facts)]
    if facts.training is not None:
        parts += ["## Training", _training(facts, facts.training)]
    parts += ["## Did it help?", _evaluation(facts.evaluation)]
    if facts.format in {"gguf", "ollama-adapter"}:
        parts += ["## Ship proof", _proof(facts.proof)]
    if facts.training is not None:
        parts += ["## Make it again", _reproduce(facts, facts.training)]
    if facts.shares:
        rows = [(f"`{name}`", f"`{sha256}`") for name, sha256 in facts.shares]
        parts += ["## Files", _table(("File", "SHA-256"), rows)]
    return "\n\n".join(parts) + "\n"


def _front_matter(facts: CardFacts) -> str:
    licence = facts.licence.lower()
    lines = [f"license: {licence}"] if licence in _SPDX else ["license: other"]
    if licence and licence not in _SPDX:
        lines.append(f"license_name: {facts.licence}")
    if is_hub_id(facts.base):
        lines += [
            f"base_model: {facts.base}",
            f"base_model_relation: {_RELATIONS.get(facts.format, 'finetune')}",
        ]
    lines += [
        f"library_name: {_LIBRARIES.get(facts.format, 'transformers')}",
        "pipeline_tag: text-generation",
    ]
    return "\n".join(["---", *lines, "tags:", "- backpropagate", "---"])


def _summary(facts: CardFacts) -> str:
    licence = facts.licence or "unknown; look at the page of the base model before you pass this on"
    rows = [("Base", facts.base), ("Licence of the base", licence)]
    if facts.quantization:
        rows.append(("Type", facts.quantization))
    if facts.run_id:
        rows.append(("Run", f"`{facts.run_id}`"))
    rows.append(("Made with", f"Backpropagate {__version__}"))
    note = f"\n\n{facts.licence_note}" if facts.licence_note else ""
    return _table(("", ""), rows) + note


def _training(facts: CardFacts, spec: TrainSpec) -> str:
    rows = [("Data", f"`{Path(spec.dataset).name}`, SHA-256 `{facts.data_sha256 or 'unknown'}`")]
    hidden = {"model", "dataset", "output_dir", "name"}
    changed = {name: value for name, value in changed_values(spec.model_dump()).items() if name not in hidden}
    rows += [(f"`{name}`", f"`{_shown(value)}`") for name, value in changed.items()]
    text = _table(("Setting", "Value"), rows)
    spark = units.sparkline(facts.losses)
    if spark:
        text += f"\n\nLoss `{spark}` from {units.loss(facts.losses[0])} to {units.loss(facts.losses[-1])}."
    return text


def _evaluation(found: Evaluation | None) -> str:
    if found is None:
        return "Not evaluated on held-out rows."
    rows = [
        ("Loss", units.loss(found.before_loss), units.loss(found.after_loss)),
        ("Perplexity", f"{found.before_perplexity:.2f}", f"{found.after_perplexity:.2f}"),
    ]
    rows += [
        (f"Right by {part.name} match", f"{part.before:.0%}", f"{part.after:.0%}") for part in found.measures
    ]
    gain = found.loss_gain
    return (
        f"**{_VERDICTS[found.verdict]}** {found.cause}\n\n"
        + _table((f"{found.rows} held-out rows of `{found.data}`", found.before, found.after), rows)
        + f"\n\nThe loss fell by {gain.value:.3f}, 95 % interval {gain.low:.3f} to {gain.high:.3f}. {found.method}"
    )


def _proof(proof: Proof | None) -> str:
    if proof is None:
        return "Not proven: nobody has compared this file with the trained model."
    rows = [(check.name, check.status, check.measured or "–", check.limit or "–") for check in proof.checks]
    verdict = f"**{_PROVEN[proof.verdict]}** {proof.cause}".strip()
    engine = f"\n\nBy {proof.engine} on {proof.rows}." if proof.engine and proof.rows else ""
    return f"{verdict}\n\n{_table(('Check', 'Result', 'Found', 'Asked for'), rows)}{engine}"


def _reproduce(facts: CardFacts, spec: TrainSpec) -> str:
    """Return the commands that make the export again, beside the data file."""
    is_hub = find_preset(spec.model) is not None or is_hub_id(_public_name(spec.model))
    values = spec.model_dump() | {
        "dataset": Path(spec.dataset).name,
        "model": spec.model if is_hub else f"./{_public_name(spec.model)}",
        "output_dir": "./output",
    }
    if spec.from_adapter is not None:
        values["from_adapter"] = Path(spec.from_adapter).name
    export = ["backprop", "export", "./output/lora", "--format", facts.format, "--name", facts.name]
    if facts.quantization:
        export += ["--quantization", facts.quantization]
    lines = [cli_twin(values)] + ([shlex.join(export)] if spec.mode == "lora" else [])
    return "\n".join(
        [
            f"With Backpropagate {__version__}, in the folder of `{values['dataset']}`:",
            "",
            "```bash",
            *lines,
            "```",
        ]
    )


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(part) for part in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)


def _public_name(model: str) -> str:
    """Return a model's name on the hub, or only the last part of a folder of this machine."""
    try:
        meant = understand(model)
    except BackpropagateError:
        return Path(model).name
    return meant.value if meant.kind == "hub" else Path(meant.value).name


def _losses(run: RunFolder) -> tuple[float, ...]:
    points = points_of(JournalReader(run.journal_path).read_all())
    return tuple(point.loss for point in thin(points, _SPARK_POINTS))


def _as_report(path: Path) -> dict[str, Any]:
    """Return what an adapter or model folder tells of itself."""
    config = _read(path / "adapter_config.json")
    run_id = path / "run_id"
    return {
        "format": "lora" if config else "merged",
        "source": str(path),
        "base_model": config.get("base_model_name_or_path"),
        "run_id": run_id.read_text(encoding="utf-8").strip()[:36] if run_id.is_file() else None,
        "name": path.name,
    }


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None


def _read(path: Path) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

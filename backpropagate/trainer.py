"""`Trainer`: fine-tune in this Python process, with the same lock, journal and index as every run.

Loads nothing heavy until `train` is called.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from backprop_core import files
from backprop_core.config.campaigns import LrDecay, MergeMode, ReplayStrategy
from backprop_core.config.evaluations import Evaluation
from backprop_core.config.resolve import (
    Layer,
    Resolved,
    config_layer,
    environment_layer,
    resolve_train,
)
from backprop_core.config.settings import load_settings
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.runs.index import first_state
from backprop_core.services import campaigns as campaign_service
from backprop_core.services import data_fetch
from backprop_core.services import runs as run_service
from backprop_core.services import training as training_service
from backprop_core.services.estimates import estimate
from backprop_core.services.evaluations import EvalRequest
from backprop_core.services.export_checks import ExportRequest
from backprop_core.services.opening import open_workspace
from backprop_core.services.pushes import PushRequest
from backprop_core.services.training import StartedRun
from backprop_core.workspace import Workspace
from backpropagate import rows
from backpropagate.callback import TrainingCallback
from backpropagate.chatting import generate
from backpropagate.exporting import export_here
from backpropagate.judging import evaluate_here
from backpropagate.pushing import push_here
from backpropagate.results import ExportResult, MultiRunResult, RunResult
from backpropagate.training import train_here

if TYPE_CHECKING:
    from datasets import Dataset

    from backprop_core.planning.estimate import MemoryEstimate
    from backprop_core.services.campaigns import Campaign

    Data: TypeAlias = str | Path | list[dict[str, Any]] | Dataset

Auto = Literal["auto"]


class Trainer:
    """Fine-tunes one base model.

    Every keyword is a field of the schema (docs/reference/settings.md has ranges and trade-offs). A
    keyword that is None counts as not given: the environment, then `config.toml`, then the default
    decides. Data, steps, epochs and rows are named in `train`.

    Args:
        model: a preset key, a hub id or a local folder.
        output_dir: folder for runs and the newest adapter; `./output` by default.

    Raises:
        InputError: INPUT_VALIDATION_FAILED for a value outside its range, at construction.
        ConfigError: environment or `config.toml` hold a value that cannot be used.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        name: str | None = None,
        output_dir: str | Path | None = None,
        batch_size: int | Auto | None = None,
        gradient_accumulation: int | Auto | None = None,
        learning_rate: float | None = None,
        lr_scheduler: Literal["linear", "cosine", "constant"] | None = None,
        warmup_ratio: float | None = None,
        weight_decay: float | None = None,
        max_grad_norm: float | None = None,
        max_seq_length: int | None = None,
        train_on_responses: bool | None = None,
        optim: Literal["auto", "adamw_torch", "adamw_8bit", "paged_adamw_8bit"] | None = None,
        gradient_checkpointing: Literal["auto", "on", "off"] | None = None,
        eval_split: float | None = None,
        sample_prompt: str | None = None,
        early_stopping: int | None = None,
        divergence_limit: float | None = None,
        budget_hours: float | None = None,
        checkpoint_every: int | Auto | None = None,
        seed: int | None = None,
        packing: bool | None = None,
        report_to: str | list[str] | None = None,
        oom_recovery: bool | None = None,
        after: Literal["nothing", "export", "register"] | None = None,
        pause_on_overheat: bool | None = None,
        mode: Literal["lora", "full"] | None = None,
        from_adapter: str | Path | None = None,
        init_lora_weights: Literal["default", "pissa"] | None = None,
        lora_preset: Literal["quality", "fast", "auto"] | None = None,
        lora_r: int | Auto | None = None,
        lora_alpha: float | Auto | None = None,
        lora_dropout: float | None = None,
        target_modules: str | None = None,
        use_dora: bool | None = None,
        use_rslora: bool | None = None,
        backend: Literal["auto", "transformers", "unsloth"] | None = None,
        device: Literal["auto", "cuda", "cpu"] | None = None,
        quantization: Literal["auto", "none", "4bit", "8bit"] | None = None,
    ) -> None:
        keywords = dict(locals())
        del keywords["self"]
        self._given: dict[str, Any] = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in keywords.items()
            if value is not None
        }
        self._newest: RunResult | None = None
        self._spec = self._resolve().spec

    @property
    def spec(self) -> TrainSpec:
        """The fields of a run as they stand now, defaults included."""
        return self._spec

    def train(
        self,
        dataset: str | Path | list[dict[str, Any]] | Dataset,
        steps: int | None = None,
        epochs: float | None = None,
        samples: int | None = None,
        callback: TrainingCallback | None = None,
        resume_from: str | None = None,
    ) -> RunResult:
        """Train in this process and return the result.

        The page and `backprop list-runs` show the run while it works and can ask it to stop. Ctrl-C
        stops it at the next step with what it learned saved; a second one breaks it off.

        Args:
            dataset: a file, a data set of the hub (`owner/name`), a list of rows, or a `datasets.Dataset`.
            steps: optimizer steps; with neither steps nor epochs the settings decide, 100 by default.
            epochs: passes over the data; with `steps` too, whichever comes first.
            samples: use only the first rows.
            callback: hooks that are called between the steps.
            resume_from: id of a run over the same data that ended early; it goes on as in `resume`.

        Raises:
            BackpropagateError: what stands in the way, before anything was created; or why the run failed.
        """
        counts = {"steps": steps, "epochs": epochs, "samples": samples}
        named = {key: value for key, value in counts.items() if value is not None}
        spec = self._resolve(named).spec
        data = rows.data_file(dataset, Path(spec.output_dir))
        if resume_from is not None:
            _require_same(data, named, resume_from)
            return self.resume(resume_from, callback)
        ws = open_workspace()
        try:
            here = data_fetch.local_data(ws, data.path.as_posix())
            layer = Layer("explicit", {**self._given, **named, "dataset": here}, "keyword")
            started = _prepare(ws, layer, data)
            self._newest = train_here(
                ws,
                first_state(started.folder),
                partial(training_service.register_in_process, ws, started),
                callback or TrainingCallback(),
            )
        finally:
            ws.close()
        return self._newest

    def multi_run(
        self,
        dataset: Data | Sequence[Data],
        num_runs: int | None = None,
        steps_per_run: int | None = None,
        samples_per_run: int | None = None,
        merge_mode: MergeMode | None = None,
        *,
        replay_fraction: float | None = None,
        replay_strategy: ReplayStrategy | None = None,
        lr_decay: LrDecay | None = None,
        final_lr: float | None = None,
        validation: bool | None = None,
        gate: float | None = None,
        callback: TrainingCallback | None = None,
    ) -> MultiRunResult:
        """Learn data leg after leg into one adapter in this process, and measure what is forgotten.

        Args:
            dataset: one source that is cut into `num_runs` chunks, 5 by default, or a list of sources, one for
                each leg. A list of rows is one source.
            steps_per_run: optimizer steps of each leg; the settings decide when None, 100 by default.
            samples_per_run: rows of each leg at most; 1,000 when None.
            merge_mode, replay_fraction, replay_strategy, lr_decay, final_lr, validation, gate: see the options of
                a campaign in docs/reference/settings.md.
            callback: hooks that are called between the steps, which count on across the legs.

        Raises:
            BackpropagateError: what stands in the way, before anything was created; or why the campaign failed.
        """
        sources = _sources_of(dataset)
        options: dict[str, Any] = {
            "num_runs": num_runs,
            "steps": steps_per_run,
            "samples": samples_per_run,
            "merge_mode": merge_mode,
            "replay_fraction": replay_fraction,
            "replay_strategy": replay_strategy,
            "lr_decay": lr_decay,
            "final_lr": final_lr,
            "validation": validation,
            "gate": gate,
        }
        found = [rows.data_file(source, Path(self._spec.output_dir)) for source in sources]
        named = {name: value for name, value in options.items() if value is not None}
        named["sources"] = tuple(str(data.path) for data in found)
        layer = Layer("explicit", {**self._given, **named}, "keyword")
        ws = open_workspace()
        try:
            try:
                started = campaign_service.prepare_campaign_in_process(ws, [layer])
            except BackpropagateError:
                for data in found:
                    data.discard()
                raise
            self._newest = train_here(
                ws,
                first_state(started.folder),
                partial(campaign_service.register_in_process, ws, started),
                callback or TrainingCallback(),
            )
            return _campaign_result(self._newest, campaign_service.read_campaign(ws, started.run_id))
        finally:
            ws.close()

    def resume(self, run_id: str, callback: TrainingCallback | None = None) -> RunResult:
        """Let a run that ended early go on in this process, from its newest whole checkpoint.

        The run keeps its own model, data and settings; the keywords of this trainer do not count.

        Args:
            run_id: a unique beginning is enough.
            callback: hooks that are called between the steps.

        Raises:
            InputError: INPUT_RUN_NOT_FOUND, or the run is an export.
            StateError: STATE_RUN_NOT_ACTIVE when it completed, STATE_RUN_LOCKED when it has not ended,
                STATE_CHECKPOINT_INVALID when its data is gone or changed.
            BackpropagateError: why its next attempt failed.
        """
        ws = open_workspace()
        try:
            state = run_service.resumable_here(ws, run_id)
            register = partial(run_service.resume_here, ws, state.run_id)
            self._newest = train_here(ws, state, register, callback or TrainingCallback())
        finally:
            ws.close()
        return self._newest

    def estimate_vram(self) -> MemoryEstimate:
        """Forecast the memory that a run with these keywords needs, from the model's sizes alone.

        Every row counts with the full length. Nothing is fetched; presets and cached models are known.

        Raises:
            DependencyError: DEP_MODEL_LOAD_FAILED, the model's sizes are not known on this machine.
        """
        ws = open_workspace()
        try:
            return estimate(ws, [Layer("explicit", self._given, "keyword")])
        finally:
            ws.close()

    def save(self, path: str | Path) -> Path:
        """Copy the newest adapter to `path`, which must not exist or be empty, and return it.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when nothing was trained yet.
            InputError: INPUT_OUTPUT_DIR_NOT_OURS when `path` holds files.
        """
        _, adapter = self._trained()
        target = Path(path).expanduser()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError("INPUT_OUTPUT_DIR_NOT_OURS", f"{target} exists already and holds files.")
        shutil.copytree(adapter, target, dirs_exist_ok=True)
        return target

    def export(
        self,
        format: Literal["gguf", "lora", "merged", "ollama-adapter"] = "gguf",
        quantization: str = "q4_k_m",
        output_dir: str | Path | None = None,
        ollama_name: str | None = None,
        proof: bool = True,
        model_card: bool = True,
    ) -> ExportResult:
        """Export what was trained last and return what was made.

        Args:
            format: `gguf` is one file for llama.cpp and Ollama, `lora` the adapter, `merged` a safetensors
                model, `ollama-adapter` base and adapter as two GGUF files.
            quantization: the GGUF type.
            output_dir: folder that receives the export; `<output_dir of the trainer>/exports/<format>`.
            ollama_name: register the result with Ollama under this name.
            proof: compare a GGUF export with the trained model; a red one is not registered.
            model_card: write a model card beside it.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when nothing was trained yet.
            BackpropagateError: what stands in the way, or why it failed; no half file is left.
        """
        run_id, _ = self._trained()
        folder = Path(output_dir or Path(self._spec.output_dir) / "exports" / format)
        request = ExportRequest(
            run_id,
            format,
            quantization,
            folder=folder,
            ollama_name=ollama_name,
            wants_proof=proof,
            wants_card=model_card,
        )
        return export_here(request)

    def evaluate(
        self, data: str | Path | None = None, *, vs: str = "base", regex: str | None = None
    ) -> Evaluation:
        """Compare what was trained last with its base, or another run, on held-out rows.

        Args:
            data: a held-out file; the rows that the run held out when not given.
            vs: `base`, or the id of another run.
            regex: what to look for in answers and replies.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when nothing was trained yet.
            BackpropagateError: there are no held-out rows, or why it failed.
        """
        run_id, _ = self._trained()
        request = EvalRequest(run_id, vs, Path(data) if data is not None else None, regex)
        return evaluate_here(request)

    def push_to_hub(self, repo_id: str, private: bool = True, *, token_file: str | Path | None = None) -> str:
        """Push the newest adapter with its card to the hub and return the address of the commit.

        Args:
            repo_id: owner and name; made when it is missing.
            private: make it private, and refuse one that is public.
            token_file: holds the token; HF_TOKEN, then the saved login when not given.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when nothing was trained yet.
            RunError: HUB_PUSH_FAILED with the cause.
        """
        _, adapter = self._trained()
        file = Path(token_file) if token_file is not None else None
        return push_here(PushRequest(str(adapter), repo_id, is_private=private, token_file=file))

    def generate(self, prompt: str, *, base: bool = False, **options: Any) -> str:
        """Return the reply of what was trained last to one question; the model is loaded for each call.

        Args:
            prompt: what to ask.
            base: ask the base model instead, to compare.
            options: system prompt, thinking and sampling, as `backpropagate.generate` takes them.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when nothing was trained yet.
            BackpropagateError: why there is no reply.
        """
        run_id, _ = self._trained()
        return generate(run_id, prompt, base=base, **options)

    def _trained(self) -> tuple[str, Path]:
        """Return id and adapter of the newest run.

        Raises:
            StateError: STATE_RUN_NOT_ACTIVE when it has none.
        """
        if self._newest is None or self._newest.adapter_path is None:
            raise StateError(
                "STATE_RUN_NOT_ACTIVE", "This trainer has no adapter yet.", hint="Call train first."
            )
        return self._newest.run_id, self._newest.adapter_path

    def _resolve(self, named: dict[str, Any] | None = None) -> Resolved:
        home = load_settings()[0].home
        own = Layer("explicit", {**self._given, **(named or {})}, "keyword")
        return resolve_train([config_layer(home / "config.toml"), environment_layer(), own])


def _sources_of(dataset: Any) -> list[Any]:
    """Return one source for each leg, or the one that is cut into chunks."""
    is_list = isinstance(dataset, list | tuple)
    if is_list and dataset and not all(isinstance(item, Mapping) for item in dataset):
        return list(dataset)
    return [dataset]


def _campaign_result(run: RunResult, campaign: Campaign) -> MultiRunResult:
    return MultiRunResult(
        run_id=run.run_id,
        status=run.status,
        steps=run.steps,
        legs=campaign.legs,
        product_leg=campaign.product_leg,
        matrix=campaign.matrix,
        loss=campaign.loss,
        exact=campaign.exact,
        adapter_path=run.adapter_path,
        seconds=run.seconds,
        folder=run.folder,
    )


def _prepare(ws: Workspace, layer: Layer, data: rows.DataFile) -> StartedRun:
    """Create the run; when it is refused, the rows that were written for it go too."""
    try:
        return training_service.prepare_in_process(ws, [layer])
    except BackpropagateError:
        data.discard()
        raise


def _require_same(data: rows.DataFile, named: Mapping[str, Any], run_id: str) -> None:
    """Refuse counts and data that are not those of the run that shall go on.

    Raises:
        InputError: INPUT_VALIDATION_FAILED.
    """
    ws = open_workspace()
    try:
        known = run_service.run_detail(ws, run_id).info.dataset_hash
    finally:
        ws.close()
    is_same = data.path.is_file() and files.sha256_of(data.path) == known
    if is_same and not named:
        return
    data.discard()
    what = f"{next(iter(named))} cannot be given" if named else f"{data.path} is not its data"
    raise InputError(
        "INPUT_VALIDATION_FAILED",
        f"Run {run_id} goes on with its own settings; {what}.",
        hint="Leave resume_from out to start a new run.",
    )

"""The one schema of a training run: every field, its default, its range and its trade-off.

Flags, environment variables, Python keywords, forms and the reference table are read from
`TrainSpec`; a field that stands here works in all of them. Values are checked here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Auto = Literal["auto"]
Section = Literal["model", "training", "lora", "run", "multi_run"]


def option(
    default: Any,
    description: str,
    *,
    label: str,
    section: Section,
    flag: str | None = None,
    short: str | None = None,
    env: str | None = None,
    basic: bool = False,
    **limits: Any,
) -> Any:
    """Declare a field once for all faces.

    Args:
        default: the value when no source names one.
        description: what the field does and what it costs.
        label: its name on the page.
        section: the first part of its environment variable and of its table in `config.toml`.
        flag: the long flag when it is not the field's name with dashes.
        short: the one-letter flag.
        env: the second part of the environment variable when it is not the field's name.
        basic: whether the page shows it outside the Advanced panel.
        limits: pydantic limits: `ge`, `gt`, `le`, `lt`, `max_length`.
    """
    face: dict[str, Any] = {
        "label": label,
        "section": section,
        "flag": flag,
        "short": short,
        "env": env,
        "basic": basic,
    }
    return Field(default, description=description, json_schema_extra={"face": face}, **limits)


def _blank_is_none(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in {"", "none"} else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


_TRACKER = "(tensorboard|wandb|mlflow)"
_TRACKERS = rf"^(auto|none|{_TRACKER}(,{_TRACKER})*)$"
Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Blank = BeforeValidator(_blank_is_none)


class TrainSpec(BaseModel):
    """What one supervised fine-tune is to do. Frozen: a run never changes its spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    model: str = option(
        "Qwen/Qwen2.5-7B-Instruct",
        "Base model: a preset key, a hub id, a local folder or a cached model.",
        label="Model",
        section="model",
        env="NAME",
        short="-m",
        basic=True,
        min_length=1,
        max_length=1024,
    )
    dataset: str = option(
        "",
        "Training data: a file with one conversation per row.",
        label="Data",
        section="training",
        flag="--data",
        short="-d",
        basic=True,
        max_length=4096,
    )
    name: Annotated[str | None, Blank] = option(
        None,
        "Name of the run in lists; the data file's name when empty.",
        label="Name",
        section="run",
        max_length=100,
    )
    output_dir: str = option(
        "./output",
        "Folder for runs and the newest adapter. The web app writes below its own folder.",
        label="Output folder",
        section="run",
        flag="--output",
        short="-o",
        min_length=1,
        max_length=4096,
    )

    steps: Annotated[Annotated[Int, Field(ge=1, le=10_000_000)] | None, Blank] = option(
        100,
        "Optimizer steps to take. With epochs too, the run ends at whichever comes first.",
        label="Steps",
        section="training",
        basic=True,
    )
    epochs: Annotated[Annotated[Float, Field(gt=0, le=10_000)] | None, Blank] = option(
        None, "Passes over the data, instead of steps.", label="Epochs", section="training", basic=True
    )
    samples: Annotated[Annotated[Int, Field(ge=1)] | None, Blank] = option(
        None, "Use only the first rows of the data; all when empty.", label="Rows used", section="training"
    )
    batch_size: Annotated[Int, Field(ge=1, le=4096)] | Auto = option(
        "auto",
        "Rows in one micro-batch. Larger is faster and needs more memory; auto takes the largest that fits.",
        label="Batch",
        section="training",
    )
    gradient_accumulation: Annotated[Int, Field(ge=1, le=4096)] | Auto = option(
        "auto",
        "Micro-batches per optimizer step. Auto brings the effective batch to 8 rows.",
        label="Accumulation",
        section="training",
        flag="--grad-accum",
    )
    learning_rate: Annotated[Float, Field(gt=0, le=1)] = option(
        2e-4,
        "Peak learning rate. Higher learns faster and forgets more; LoRA wants about ten times the rate of full tuning.",
        label="Learning rate",
        section="training",
        flag="--lr",
    )
    lr_scheduler: Literal["linear", "cosine", "constant"] = option(
        "cosine", "How the learning rate falls after the warm-up.", label="Schedule", section="training"
    )
    warmup_ratio: Annotated[Float, Field(ge=0, lt=1)] = option(
        0.05, "Share of the steps over which the learning rate rises.", label="Warm-up", section="training"
    )
    weight_decay: Annotated[Float, Field(ge=0, le=1)] = option(
        0.0, "Pull of the weights towards zero at each step.", label="Weight decay", section="training"
    )
    max_grad_norm: Annotated[Float, Field(gt=0, le=1e6)] = option(
        1.0, "Gradients longer than this are scaled down to it.", label="Gradient clip", section="training"
    )
    max_seq_length: Annotated[Int, Field(ge=8, le=1_048_576)] = option(
        2048,
        "Tokens kept of a row; the rest is cut. Longer needs more memory.",
        label="Length",
        section="training",
    )
    train_on_responses: bool = option(
        True,
        "Learn only the assistant's turns. Off: every token carries loss.",
        label="Learn answers only",
        section="training",
    )
    optim: Literal["auto", "adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = option(
        "auto",
        "Optimizer. The 8-bit ones hold a quarter of the state and need CUDA; auto takes them there.",
        label="Optimizer",
        section="training",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = option(
        "auto",
        "Recompute activations instead of keeping them: about a third slower, far less memory.",
        label="Recompute activations",
        section="training",
    )
    eval_split: Annotated[Float, Field(ge=0, le=0.5)] = option(
        0.0,
        "Share of the rows held out of training. Their loss is measured with each checkpoint, and the "
        "result is the step where it was lowest.",
        label="Held-out share",
        section="training",
    )
    sample_prompt: Annotated[str | None, Blank] = option(
        None,
        "A question that the model answers with each checkpoint, so that the change can be read.",
        label="Sample question",
        section="training",
        max_length=2000,
    )
    early_stopping: Annotated[Annotated[Int, Field(ge=1, le=1000)] | None, Blank] = option(
        None,
        "End the run after so many measures in a row without a new lowest held-out loss; off when empty.",
        label="Early stopping",
        section="training",
    )
    divergence_limit: Annotated[Annotated[Float, Field(gt=0, le=100)] | None, Blank] = option(
        0.5,
        "End the run when the held-out loss was this share above its lowest, or no number, in two measures in "
        "a row. The result is the lowest one anyway; lower limits stop runs that would have recovered. Off "
        "when empty.",
        label="Stop on divergence",
        section="training",
    )
    budget_hours: Annotated[Annotated[Float, Field(gt=0, le=10_000)] | None, Blank] = option(
        None,
        "End the run at the first step after so many hours of training, pauses included; what it learned is "
        "saved. A resume begins a new count. No limit when empty.",
        label="Hours at most",
        section="training",
    )
    checkpoint_every: Annotated[Int, Field(ge=1, le=10_000_000)] | Auto = option(
        "auto",
        "Steps between checkpoints. A kill costs at most this many steps; auto keeps about ten per run.",
        label="Checkpoint every",
        section="training",
    )
    seed: Annotated[Int, Field(ge=0, le=2**32 - 1)] = option(
        42, "Seed of data order, adapter weights and dropout.", label="Seed", section="training"
    )
    packing: bool = option(
        True,
        "Lay the rows of a step into full micro-batches without padding; each row still sees only itself, "
        "and results stay the same. Off: batch rows at a time.",
        label="Pack rows",
        section="training",
        flag="--packing/--no-packing",
    )
    report_to: Annotated[str, BeforeValidator(_joined), Field(pattern=_TRACKERS)] = option(
        "auto",
        "Trackers that get the figures of each step: tensorboard, wandb, mlflow, several with commas, or none. "
        "Auto takes those that are installed, W&B only with a login.",
        label="Report to",
        section="training",
        env="REPORT_TO",
    )
    oom_recovery: bool = option(
        True,
        "Halve the micro-batch inside the step when memory runs out, instead of failing.",
        label="Recover from out of memory",
        section="training",
        flag="--oom-recovery/--no-oom-recovery",
    )

    after: Literal["nothing", "export", "register"] = option(
        "nothing",
        "What follows by itself once the run has an adapter: export it as a q4_k_m GGUF, or export it and register "
        "it with Ollama. It is a job of its own; a run that fails leaves it undone until it is resumed.",
        label="After this run",
        section="run",
        env="AFTER",
    )
    pause_on_overheat: bool = option(
        True,
        "Pause between two steps while the card is about to slow down from heat, and go on once it is cool.",
        label="Pause when too hot",
        section="training",
        flag="--pause-on-overheat/--no-pause-on-overheat",
    )
    mode: Literal["lora", "full"] = option(
        "lora",
        "lora: learn an adapter beside the frozen model. full: learn every weight, for models up to about "
        "3 B; needs several times the memory and a tenth of the learning rate.",
        label="Method",
        section="training",
    )
    from_adapter: Annotated[str | None, Blank] = option(
        None,
        "Folder of an earlier adapter to go on from; rank, alpha and layers are then its own.",
        label="Start from adapter",
        section="lora",
        env="FROM_ADAPTER",
        max_length=4096,
    )
    init_lora_weights: Literal["default", "pissa"] = option(
        "default",
        "How the adapter begins. pissa takes the strongest directions of each weight: learns faster at "
        "first, starts slower, and the saved adapter has twice the rank.",
        label="Adapter start",
        section="lora",
    )
    lora_preset: Literal["quality", "fast", "auto"] = option(
        "quality",
        "quality: rank 256 on all linear layers. fast: rank 16 on q and v. auto: the smallest rank that covers the data and fits.",
        label="Preset",
        section="lora",
        env="PRESET",
        basic=True,
    )
    lora_r: Annotated[Int, Field(ge=1, le=1024)] | Auto = option(
        256,
        "Rank of the adapter: room to learn against memory. Auto covers the supervised tokens.",
        label="Rank",
        section="lora",
        env="R",
    )
    lora_alpha: Annotated[Float, Field(gt=0, le=4096)] | Auto = option(
        "auto",
        "Scale of the adapter. Auto follows the rank: 32, or twice the rank below 16.",
        label="Alpha",
        section="lora",
        env="ALPHA",
    )
    lora_dropout: Annotated[Float, Field(ge=0, lt=1)] = option(
        0.0, "Share of adapter inputs dropped while training.", label="Dropout", section="lora", env="DROPOUT"
    )
    target_modules: str = option(
        "all-linear",
        "Layers that carry an adapter: all-linear, or names with commas such as q_proj,v_proj.",
        label="Layers",
        section="lora",
        env="TARGET_MODULES",
        min_length=1,
        max_length=1000,
    )
    use_dora: bool = option(
        False,
        "Weight-decomposed LoRA: often a little better, about 60 % slower.",
        label="DoRA",
        section="lora",
        env="DORA",
    )
    use_rslora: bool = option(
        False, "Scale by alpha over the root of the rank.", label="rsLoRA", section="lora", env="RSLORA"
    )
    backend: Literal["auto", "transformers", "unsloth"] = option(
        "auto",
        "Who loads the model. Unsloth is faster on some families; auto takes it on CUDA where it is "
        "installed, and goes on without it when it fails.",
        label="Backend",
        section="model",
    )
    device: Literal["auto", "cuda", "cpu"] = option(
        "auto",
        "Where to train. Without CUDA, models up to 0.5 B parameters train on the processor; cpu forces it.",
        label="Device",
        section="model",
    )
    quantization: Literal["auto", "none", "4bit", "8bit"] = option(
        "auto",
        "How the frozen base is held: 4bit needs a quarter of the memory. Auto decides by what fits; CUDA only.",
        label="Weights",
        section="model",
    )


PRESETS: dict[str, dict[str, Any]] = {
    "quality": {"lora_r": 256, "target_modules": "all-linear"},
    "fast": {"lora_r": 16, "target_modules": "q_proj,v_proj"},
    "auto": {"lora_r": "auto", "target_modules": "all-linear"},
}


def alpha_for_rank(r: int) -> float:
    """Return the alpha that belongs to a rank: constant 32, or 2r below rank 16.

    With PEFT's alpha/r scaling a constant alpha keeps the best learning rate nearly independent of
    the rank (Schulman et al., "LoRA Without Regret", 2025); at rank 16 it meets the usual alpha = 2r.
    """
    return float(min(32, 2 * r))

"""What a campaign adds to the schema of a training run: its legs, its merges, its measures.

A campaign is a `TrainSpec`, whose steps and rows count for one leg, and a `CampaignSpec`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from backprop_core.config.resolve import (
    FieldProblem,
    Layer,
    Origin,
    Resolved,
    by_rank,
    field_problems,
    read_config,
    refused,
    resolve_train,
    unknown_setting,
)
from backprop_core.config.schema import SchemaField, describe
from backprop_core.config.specs import Blank, Float, Int, option
from backprop_core.errors import ConfigError, InputError

MergeMode = Literal["slao", "simple", "average", "slao-merged-b"]
ReplayStrategy = Literal["recent", "random", "all_previous"]
LrDecay = Literal["constant", "linear", "cosine"]

DEFAULT_SAMPLES: Final = 1000
_SECTION: Final[Literal["multi_run"]] = "multi_run"


class CampaignSpec(BaseModel):
    """How the legs of a campaign follow one another. Frozen.

    Attributes:
        sources: one data file per leg; with one file or none the run's data is cut into chunks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    sources: tuple[str, ...] = Field((), max_length=1000)
    num_runs: Annotated[Int, Field(ge=1, le=1000)] = option(
        5,
        "Legs of the campaign; with one data file per leg, their number.",
        label="Legs",
        section=_SECTION,
        flag="--runs",
        env="RUNS",
        basic=True,
    )
    merge_mode: MergeMode = option(
        "slao",
        "What is kept of a leg. slao: orthogonal start and a merge that weighs later legs less; simple: each "
        "leg goes on from the last; average: the mean of all legs; slao-merged-b: SLAO that starts from the "
        "merged half.",
        label="Merge",
        section=_SECTION,
        basic=True,
    )
    replay_fraction: Annotated[Float, Field(ge=0, le=1)] = option(
        0.0,
        "Rows of earlier legs that are learned again in each leg, as a share of its own. Forgets less, costs "
        "nothing but the place in the steps.",
        label="Replay",
        section=_SECTION,
        basic=True,
    )
    replay_strategy: ReplayStrategy = option(
        "all_previous",
        "Which rows come back: those of the last leg, any of the earlier ones, or equally many of each.",
        label="Replayed rows",
        section=_SECTION,
    )
    lr_decay: LrDecay = option(
        "constant",
        "How the learning rate falls from the first leg to the last. Falling forgets less and learns less.",
        label="Rate over legs",
        section=_SECTION,
    )
    final_lr: Annotated[Annotated[Float, Field(gt=0, le=1)] | None, Blank] = option(
        None,
        "Learning rate of the last leg; a tenth of the first when empty. Means nothing while it is constant.",
        label="Last leg's rate",
        section=_SECTION,
    )
    validation: bool = option(
        True,
        "Hold out rows of every leg before the first, and measure all of them after each leg. Needed to see "
        "what is forgotten; takes the held-out share of the rows, a tenth when none is set.",
        label="Measure forgetting",
        section=_SECTION,
        flag="--validate/--no-validate",
        env="VALIDATE",
        basic=True,
    )
    gate: Annotated[Annotated[Float, Field(gt=0, le=100)] | None, Blank] = option(
        None,
        "Reject a merge that raises the mean held-out loss of the earlier legs by more than this; off when "
        "empty.",
        label="Forgetting gate",
        section=_SECTION,
    )


@dataclass(frozen=True, slots=True)
class ResolvedCampaign:
    """A whole campaign and where each of its values came from."""

    train: Resolved
    spec: CampaignSpec
    origins: Mapping[str, Origin]


@functools.cache
def campaign_fields() -> tuple[SchemaField, ...]:
    """Return every option of `CampaignSpec` in the order of its declaration."""
    return tuple(
        describe(name, field) for name, field in CampaignSpec.model_fields.items() if name != "sources"
    )


def resolve_campaign(layers: Iterable[Layer]) -> ResolvedCampaign:
    """Merge `layers`, whose values may be of a run or of the campaign, over the defaults.

    Raises:
        InputError: INPUT_VALIDATION_FAILED for an unknown name or a value outside its range.
        ConfigError: CONFIG_INVALID_SETTING when the value came from the environment or the file.
    """
    own, train = _apart(layers)
    resolved = resolve_train(train)
    values, origins = _merge(own)
    try:
        spec = CampaignSpec.model_validate(values)
    except ValidationError as error:
        problem = _problem(error.errors()[0], origins)
        cls = ConfigError if problem.code == "CONFIG_INVALID_SETTING" else InputError
        raise cls(problem.code, problem.message, hint=problem.hint, field=problem.field) from error
    return ResolvedCampaign(resolved, spec, origins)


def campaign_problems(layers: Iterable[Layer]) -> list[FieldProblem]:
    """Return every value that cannot be used, for a form that shows messages at its fields."""
    own, train = _apart(layers)
    problems = field_problems(train)
    values, origins = _merge(own)
    try:
        CampaignSpec.model_validate(values)
    except ValidationError as error:
        found = [_problem(detail, origins) for detail in error.errors()]
        problems += {problem.field: problem for problem in found}.values()
    return problems


def campaign_environment_layer(environ: Mapping[str, str] | None = None) -> Layer:
    """Return the options of a campaign that environment variables set."""
    environ = os.environ if environ is None else environ
    found = {field.name: environ[field.env] for field in campaign_fields() if field.env in environ}
    return Layer("environment", found, "the environment")


def campaign_config_layer(path: Path) -> Layer:
    """Return the options of a campaign that `config.toml` sets; a missing file sets none.

    Raises:
        ConfigError: the file is not TOML, or names a setting that does not exist.
    """
    names = {field.env.rpartition("__")[2].lower(): field.name for field in campaign_fields()}
    found = {}
    for key, value in read_config(path).get(_SECTION, {}).items():
        if key not in names:
            raise unknown_setting(f"{_SECTION}.{key}", [f"{_SECTION}.{name}" for name in names], str(path))
        found[names[key]] = value
    return Layer("config", found, str(path))


def _apart(layers: Iterable[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Return the layers with the campaign's own fields, and those with the fields of a run."""
    names = set(CampaignSpec.model_fields)
    own, train = [], []
    for layer in layers:
        mine = {name: value for name, value in layer.values.items() if name in names}
        rest = {name: value for name, value in layer.values.items() if name not in names}
        own.append(Layer(layer.source, mine, layer.note))
        train.append(Layer(layer.source, rest, layer.note))
    return own, train


def _merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, Origin]]:
    values: dict[str, Any] = {}
    origins = {name: Origin("default") for name in CampaignSpec.model_fields}
    for layer in by_rank(layers):
        named = {name: value for name, value in layer.values.items() if value is not None}
        values |= named
        origins |= {name: Origin(layer.source, layer.note) for name in named}
    return values, origins


def _problem(error: ErrorDetails, origins: Mapping[str, Origin]) -> FieldProblem:
    name = str(error["loc"][0])
    field = next((field for field in campaign_fields() if field.name == name), None)
    if field is None:
        return FieldProblem(
            name, "INPUT_VALIDATION_FAILED", f"The data of the legs cannot be {error['input']!r:.80}."
        )
    return refused(field, error["input"], origins[name])

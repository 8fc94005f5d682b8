"""What the Multi-Run page asks of the services: the form's start, its plan, campaigns that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backprop_app.runtime import Runtime
from backprop_app.views import form
from backprop_app.views.form import Option
from backprop_core.config.campaigns import (
    campaign_config_layer,
    campaign_environment_layer,
    resolve_campaign,
)
from backprop_core.config.presets import TUTORIAL_MODEL
from backprop_core.config.resolve import Layer
from backprop_core.services import campaign_plan, data_files, system, training
from backprop_core.services.campaign_plan import CampaignDraft


@dataclass(frozen=True, slots=True)
class Found:
    """What the form needs when the page opens."""

    models: list[Option]
    data: list[Option]
    draft: dict[str, str]


def look(runtime: Runtime) -> Found:
    """Return what can be chosen, and what the form begins with on this machine."""
    has_card = system.machine_facts(runtime.memo).gpu is not None
    data = form.data_options(data_files.list_data_files(runtime.ws), data_files.examples_dir())
    draft = {} if has_card else {"model": TUTORIAL_MODEL, "lora_r": "16"}
    return Found(form.model_options({}), data, draft)


def layers_of(draft: Mapping[str, str], sources: Sequence[str]) -> list[Layer]:
    """Return the values of the form; one data file is cut into chunks, several are one leg each."""
    values: dict[str, Any] = dict(draft)
    if sources:
        values["sources"] = tuple(sources)
    return [Layer("explicit", values, "the page")]


def plan_of(runtime: Runtime, draft: Mapping[str, str], sources: Sequence[str]) -> CampaignDraft:
    """Return the campaign that the form describes."""
    return campaign_plan.plan_campaign(
        runtime.ws, layers_of(draft, sources), source="page", memo=runtime.memo
    )


def rules_of(runtime: Runtime) -> dict[str, Any]:
    """Return the values that hold where the form changes nothing, by field."""
    path = runtime.ws.home / "config.toml"
    below = [*training.layers_of(runtime.ws, []), campaign_config_layer(path), campaign_environment_layer()]
    resolved = resolve_campaign(below)
    return {**resolved.train.spec.model_dump(), **resolved.spec.model_dump()}

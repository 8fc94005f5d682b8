"""The Reflex app: pages, what each loads, the API and the gate around it."""

from __future__ import annotations

import reflex as rx

from backprop_app.api.routes import create_api
from backprop_app.arguments import CheckedArguments
from backprop_app.failures import note_page_error, tell_page
from backprop_app.pages.dataset import dataset_page
from backprop_app.pages.export import export_page
from backprop_app.pages.models import models_page
from backprop_app.pages.multi_run import multi_run_page
from backprop_app.pages.not_found import not_found_page
from backprop_app.pages.playground import playground_page
from backprop_app.pages.run import run_page
from backprop_app.pages.runs import runs_page
from backprop_app.pages.settings import settings_page
from backprop_app.pages.storage import storage_page
from backprop_app.pages.train import train_page
from backprop_app.runtime import lifespan
from backprop_app.security.gate import Gate
from backprop_app.states.campaign import CampaignState
from backprop_app.states.campaign_form import CampaignFormState
from backprop_app.states.compare import CompareState
from backprop_app.states.dataset_work import DatasetWorkState
from backprop_app.states.export import ExportState
from backprop_app.states.judge import JudgeState
from backprop_app.states.models import ModelsState
from backprop_app.states.night import NightState
from backprop_app.states.playground import PlaygroundState
from backprop_app.states.queue import QueueState
from backprop_app.states.rail import RailState
from backprop_app.states.run import RunState
from backprop_app.states.runs import RunsState
from backprop_app.states.settings import SettingsState
from backprop_app.states.storage import StorageState
from backprop_app.states.train import TrainState

_DESCRIPTION = "Fine-tune a language model on one consumer GPU and ship it to Ollama."

app = rx.App(
    stylesheets=["/theme.css"],
    head_components=[
        rx.el.link(rel="icon", href="/favicon.svg", type="image/svg+xml"),
        rx.el.script(src="/session.js", defer=True),
    ],
    html_lang="en",
    html_custom_attrs={"class": "dark"},
    # The frame shows its own notice when the connection is lost, and toasts come from state.
    app_wraps={},
    toaster=None,
    backend_exception_handler=tell_page,
    frontend_exception_handler=note_page_error,
    api_transformer=[create_api(), Gate],
)
app.register_lifespan_task(lifespan)
app.add_middleware(CheckedArguments())

_EVERYWHERE = [RailState.watch]

app.add_page(
    train_page,
    route="/",
    title="Train · Backpropagate",
    description=_DESCRIPTION,
    on_load=[TrainState.load, *_EVERYWHERE],
)
app.add_page(
    dataset_page,
    route="/dataset",
    title="Dataset · Backpropagate",
    description=_DESCRIPTION,
    on_load=[DatasetWorkState.load, *_EVERYWHERE],
)
app.add_page(
    runs_page,
    route="/runs",
    title="Runs · Backpropagate",
    description=_DESCRIPTION,
    on_load=[RunsState.watch, QueueState.watch, NightState.watch, CompareState.watch, *_EVERYWHERE],
)
app.add_page(
    run_page,
    route="/runs/[run_id]",
    title="Run · Backpropagate",
    description=_DESCRIPTION,
    on_load=[RunState.watch, JudgeState.watch, *_EVERYWHERE],
)
app.add_page(
    export_page,
    route="/export",
    title="Export · Backpropagate",
    description=_DESCRIPTION,
    on_load=[ExportState.load, ExportState.watch, *_EVERYWHERE],
)
app.add_page(
    multi_run_page,
    route="/multi-run",
    title="Multi-Run · Backpropagate",
    description=_DESCRIPTION,
    on_load=[CampaignFormState.load, CampaignState.watch, *_EVERYWHERE],
)
app.add_page(
    models_page,
    route="/models",
    title="Models · Backpropagate",
    description=_DESCRIPTION,
    on_load=[ModelsState.watch, *_EVERYWHERE],
)
app.add_page(
    settings_page,
    route="/settings",
    title="Settings · Backpropagate",
    description=_DESCRIPTION,
    on_load=[SettingsState.load, *_EVERYWHERE],
)
app.add_page(
    playground_page,
    route="/playground",
    title="Playground · Backpropagate",
    description=_DESCRIPTION,
    on_load=[PlaygroundState.load, *_EVERYWHERE],
)
app.add_page(
    storage_page,
    route="/storage",
    title="Storage · Backpropagate",
    description=_DESCRIPTION,
    on_load=[StorageState.load, *_EVERYWHERE],
)
app.add_page(
    not_found_page,
    route="404",
    title="No such page · Backpropagate",
    description=_DESCRIPTION,
    on_load=_EVERYWHERE,
)

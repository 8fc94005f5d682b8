"""W&B, TensorBoard and MLflow by the trainer's own integrations, kept from harming the run.

Found when installed; W&B only with a login, because without one it waits for an answer on a terminal.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from backprop_core.engine.context import RunContext
from backprop_core.errors import DependencyError

KNOWN: Final = ("tensorboard", "wandb", "mlflow")

_PROJECT: Final = "backpropagate"
_log = logging.getLogger(__name__)


def chosen_trackers(wanted: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the trackers that a run reports to.

    Args:
        wanted: auto, none, or names with commas.

    Raises:
        DependencyError: DEP_EXTRA_MISSING, a tracker is named that is not installed.
    """
    if wanted == "none":
        return []
    if wanted == "auto":
        environ = os.environ if environ is None else environ
        return [name for name in KNOWN if _is_installed(name) and (name != "wandb" or _has_login(environ))]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if not _is_installed(name):
            raise DependencyError(
                "DEP_EXTRA_MISSING",
                f"--report-to {name}: the package {name} is not installed.",
                hint="Install it with `pip install 'backpropagate[monitoring]'`, or use --report-to none.",
            )
    return names


class Trackers(TrainerCallback):  # type: ignore[misc]
    """Passes the trainer's events on to trackers; one that fails is let go, the run goes on."""

    def __init__(self, context: RunContext, names: list[str]) -> None:
        self._context = context
        self._names = names
        self._active: dict[str, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Open the trackers; the run has its id as its name in each."""
        os.environ.setdefault("WANDB_PROJECT", _PROJECT)
        os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path(args.output_dir) / "tensorboard"))
        for name in self._names:
            self._guarded(name, lambda name=name: self._open(name))
        self._tell("on_train_begin", args, state, control, rest)

    def report(self, trainer: Any, values: dict[str, float]) -> None:
        """Pass the figures of a step on."""
        rest = {"logs": values, "model": trainer.model}
        self._tell("on_log", trainer.args, trainer.state, trainer.control, rest)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **rest: Any
    ) -> None:
        """Close the trackers."""
        self._tell("on_train_end", args, state, control, rest)

    def _open(self, name: str) -> None:
        self._active[name] = INTEGRATION_TO_CALLBACK[name]()

    def _tell(self, what: str, args: Any, state: Any, control: Any, rest: dict[str, Any]) -> None:
        for name, tracker in list(self._active.items()):
            self._guarded(name, lambda tracker=tracker: getattr(tracker, what)(args, state, control, **rest))

    def _guarded(self, name: str, call: Any) -> None:
        """Call a tracker; whatever it raises must not end a night's work."""
        try:
            call()
        except Exception as error:  # noqa: BLE001
            _log.warning("run %s: the tracker %s failed", self._context.info.run_id, name, exc_info=error)
            self._active.pop(name, None)
            self._context.notice(
                f"The tracker {name} failed and gets no more figures; the run goes on.", is_warning=True
            )


def _is_installed(name: str) -> bool:
    return name in KNOWN and importlib.util.find_spec(name) is not None


def _has_login(environ: Mapping[str, str]) -> bool:
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_MODE") in {"offline", "dryrun"}:
        return True
    netrc = Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
    try:
        return "api.wandb.ai" in netrc.read_text()
    except OSError:
        return False

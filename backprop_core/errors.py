"""The one error type of the product, and the catalogue of its stable codes.

Every failure a user can meet is a `BackpropagateError`: a code, one sentence, the next step.
It crosses process borders as an `ErrorRecord`. This file knows nothing of logging or printing.

    BackpropagateError
    ├── InputError        what the user gave cannot be used          exit 1
    ├── ConfigError       a setting cannot be used                   exit 1
    ├── DependencyError   something outside is missing or refused    exit 2
    ├── StateError        a file or run is not in the needed state   exit 1 or 2
    ├── RunError          work that had begun came to an end         exit 2
    └── InternalError     a defect of the product                    exit 2
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12


class ExitCode(IntEnum):
    """Exit codes of every command; the only table of them."""

    OK = 0
    USER = 1
    RUNTIME = 2
    PARTIAL = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One entry of the catalogue: what a code means and what helps."""

    cause: str
    hint: str
    exit_code: ExitCode = ExitCode.USER
    retryable: bool = False


_RUN = ExitCode.RUNTIME

CATALOGUE: Final[dict[str, ErrorKind]] = {
    "INPUT_VALIDATION_FAILED": ErrorKind(
        "A value is outside what the field accepts.",
        "Change the named value; `backprop train --help` lists every field with its range.",
    ),
    "INPUT_AUTH_REQUIRED": ErrorKind(
        "The page would be reachable from outside without a login.",
        "Add `--auth user:password`, or keep the default loopback address.",
    ),
    "INPUT_AUTH_INVALID_SHAPE": ErrorKind(
        "The credential is not `user:password`, is too short, or is a well-known pair.",
        "Use a user name, a colon and a password of 12 or more characters.",
    ),
    "INPUT_PATH_TRAVERSAL": ErrorKind(
        "A name or path leaves the folder it belongs to.",
        "Use a plain name: letters, digits, dot, dash and underscore.",
    ),
    "INPUT_DATASET_INVALID": ErrorKind(
        "The data has no row that a model could learn from.",
        "Run `backprop validate FILE` to see each unusable row with its reason.",
    ),
    "INPUT_DATASET_NOT_FOUND": ErrorKind(
        "The data file does not exist or cannot be read.",
        "Check the path; relative paths start at the current folder.",
    ),
    "INPUT_DATASET_PARSE_FAILED": ErrorKind(
        "The data file is not valid in its format.",
        "Mend the named row, or export the file again as UTF-8 JSONL.",
    ),
    "INPUT_DATASET_FORMAT_UNSUPPORTED": ErrorKind(
        "The file type or row layout is not one that Backpropagate reads.",
        "Use JSONL rows with `conversations` or `messages`.",
    ),
    "INPUT_RUN_NOT_FOUND": ErrorKind(
        "No run has this id, or the prefix fits more than one.",
        "`backprop list-runs` shows every run with its id.",
    ),
    "INPUT_MODEL_NOT_FOUND": ErrorKind(
        "The model is neither a preset, a folder, a cached model nor a hub id that answers.",
        "`backprop models list` shows the presets and what is in the cache.",
    ),
    "INPUT_ADAPTER_INVALID": ErrorKind(
        "The folder holds no LoRA adapter in safetensors form, or one of another model.",
        "Name the folder of an adapter that was trained on this model, for example `./output/lora`.",
    ),
    "INPUT_OUTPUT_DIR_NOT_OURS": ErrorKind(
        "The output folder holds files that Backpropagate did not write.",
        "Choose another `--output`, or move the named folder away.",
    ),
    "CONFIG_INVALID": ErrorKind(
        "The configuration file cannot be read.",
        "Mend the named line, or move the file away to start from the defaults.",
    ),
    "CONFIG_INVALID_SETTING": ErrorKind(
        "A setting has an unknown name or a value outside its range.",
        "`backprop info --env-vars` lists every setting with its default.",
    ),
    "DEP_GPU_NOT_AVAILABLE": ErrorKind(
        "The work needs a CUDA device that PyTorch can use.",
        "`backprop doctor` says why; models up to 0.5 B parameters train with `--device cpu`.",
        _RUN,
    ),
    "DEP_MODEL_LOAD_FAILED": ErrorKind(
        "The base model or its tokenizer could not be fetched or loaded.",
        "Check the id and the network, or name a local folder.",
        _RUN,
        retryable=True,
    ),
    "DEP_EXTRA_MISSING": ErrorKind(
        "An optional part of the product is not installed.",
        "Install the named extra, for example `pip install 'backpropagate[ui]'`.",
        _RUN,
    ),
    "DEP_TUNNEL_MISSING": ErrorKind(
        "The program that would open the tunnel is not installed. No port was opened.",
        "Forward the port over SSH from your own machine: `ssh -L 7860:localhost:7860 HOST`.",
        _RUN,
    ),
    "DEP_OLLAMA_REGISTRATION_FAILED": ErrorKind(
        "Ollama did not take the model. The exported file is kept.",
        "Start Ollama, then repeat with `backprop ollama register PATH --name NAME`.",
        _RUN,
        retryable=True,
    ),
    "STATE_CHECKPOINT_INVALID": ErrorKind(
        "A checkpoint is damaged or belongs to another run.",
        "Resume falls back to the newest valid checkpoint; start again if none is left.",
        _RUN,
    ),
    "STATE_RUN_LOCKED": ErrorKind(
        "Another process is working on this run.",
        "Wait for it or stop it: `backprop stop RUN_ID`.",
        ExitCode.USER,
        retryable=True,
    ),
    "STATE_RUN_NOT_ACTIVE": ErrorKind(
        "The run has already ended.",
        "`backprop show-run RUN_ID` shows how it ended.",
    ),
    "STATE_SLAO_CHECKPOINT_INVALID": ErrorKind(
        "The merge state of the campaign is damaged.",
        "Continue from the last whole leg, or start the campaign in a fresh folder.",
        _RUN,
    ),
    "STATE_STORE_INVALID": ErrorKind(
        "The store of runs cannot be opened: it is newer than this version, or its folder refuses locks.",
        "Update Backpropagate, or set BACKPROPAGATE_HOME to a folder on a local disk.",
        _RUN,
    ),
    "RUNTIME_TRAINING_FAILED": ErrorKind(
        "Training ended with an error.",
        "The log beside the run has the details: `backprop show-run RUN_ID`.",
        _RUN,
    ),
    "RUNTIME_TRAINING_ABORTED": ErrorKind(
        "The training process ended without a word: killed, or the machine went down.",
        "Go on from the newest checkpoint: `backprop resume RUN_ID`.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_GPU_OOM": ErrorKind(
        "The device ran out of memory.",
        "Lower `--batch-size` or `--max-seq-length`, or use `--lora-preset fast`.",
        _RUN,
    ),
    "RUNTIME_OOM_RECOVERY_EXHAUSTED": ErrorKind(
        "The device ran out of memory even at a micro-batch of one row.",
        "Lower `--max-seq-length` or the rank, or load the base in 4-bit.",
        _RUN,
    ),
    "RUNTIME_GPU_TEMPERATURE_CRITICAL": ErrorKind(
        "The card stayed near its slowdown temperature through every pause.",
        "Improve the cooling, then resume the run.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_GPU_LOST": ErrorKind(
        "The driver lost the card.",
        "Restart the machine, check power and driver, then resume the run.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_LOSS_NOT_FINITE": ErrorKind(
        "The loss was not a finite number three steps in a row.",
        "Lower the learning rate, or look at the rows around the named step.",
        _RUN,
    ),
    "RUNTIME_DISK_FULL": ErrorKind(
        "There is not enough free space on the disk.",
        "Free the named amount, or choose an output folder on another disk.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_FULL_FT_MODEL_TOO_LARGE": ErrorKind(
        "Full fine-tuning of this model does not fit a consumer card.",
        "Use LoRA, or full mode with smollm3-3b, llama-3.2-1b or smollm2-135m.",
        ExitCode.USER,
    ),
    "RUNTIME_GGUF_EXPORT_FAILED": ErrorKind(
        "The GGUF file could not be written.",
        "Nothing was left under the final name; mend the named cause and export again.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_MERGE_EXPORT_FAILED": ErrorKind(
        "The adapter could not be merged into its base model.",
        "Check that the base model is the one the adapter was trained on.",
        _RUN,
    ),
    "RUNTIME_EXPORT_CANCELLED": ErrorKind(
        "The export was cancelled.",
        "Nothing was left under the final name; start it again at any time.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_EXPORT_PROOF_FAILED": ErrorKind(
        "The exported file does not answer as the trained model did.",
        "Read the named cause on the proof card, then export again.",
        _RUN,
    ),
    "RUNTIME_EVALUATION_FAILED": ErrorKind(
        "The run could not be compared with its base on held-out rows.",
        "Mend the named cause, then evaluate again; the run stays as it is.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_CHAT_FAILED": ErrorKind(
        "The process that held the model for a chat died, refused the file or gave no sign of life.",
        "Ask again: the model is loaded anew. If it happens each time, export the file again or prove it.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_CHAT_BUSY": ErrorKind(
        "The models in memory are all answering, and another one would not fit beside them.",
        "Wait for a reply to end, or stop one.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_SLAO_MERGE_FAILED": ErrorKind(
        "Two adapters could not be merged.",
        "The last merged adapter is kept; continue the campaign to merge again.",
        _RUN,
    ),
    "RUNTIME_UI_PORT_IN_USE": ErrorKind(
        "Another program listens on the port.",
        "Choose another one with `--port`, or stop the other program.",
        ExitCode.USER,
    ),
    "STATE_UI_RUNNING": ErrorKind(
        "A web app serves this home already.",
        "Open the one that runs, or give this one a home of its own with BACKPROPAGATE_HOME.",
        ExitCode.USER,
    ),
    "RUNTIME_UI_GATE_OPEN": ErrorKind(
        "A stranger would have got into the web app. It was not opened.",
        "Do not expose this installation; install it again and report what `backprop ui --check` prints.",
        _RUN,
    ),
    "RUNTIME_TUNNEL_FAILED": ErrorKind(
        "The tunnel of --share did not open, or it does not end at this app. Nothing was shared.",
        "Mend what its last words name, or forward the port over SSH: `ssh -L 7860:localhost:7860 HOST`.",
        _RUN,
        retryable=True,
    ),
    "RUNTIME_UI_BUNDLE_INVALID": ErrorKind(
        "The built web app is missing or belongs to another version.",
        "Install the wheel again, or build it with `make bundle`.",
        _RUN,
    ),
    "HUB_PUSH_FAILED": ErrorKind(
        "The hub did not take the upload.",
        "Check the token and the repository name, then push again.",
        _RUN,
        retryable=True,
    ),
    "UI_OUTPUT_DIR_FORBIDDEN": ErrorKind(
        "The output folder of the web app may not be this one.",
        "Set BACKPROPAGATE_UI__OUTPUT_DIR to an own folder, not a system or credential folder.",
    ),
    "SANDBOX_NOT_WRITABLE": ErrorKind(
        "The output folder cannot be written.",
        "Check owner and permissions of the named folder.",
    ),
    "SANDBOX_PATH_OUTSIDE": ErrorKind(
        "The web app reads and writes only below its own folders.",
        "Upload the file, or start the app with `--data-dir FOLDER`.",
    ),
    "PARTIAL_SUCCESS": ErrorKind(
        "Part of the work succeeded.",
        "The message names what is missing; repeat that part.",
        ExitCode.PARTIAL,
    ),
    "INTERNAL": ErrorKind(
        "Backpropagate met a situation its authors did not foresee.",
        "Run the command again with `--verbose` and report what it prints.",
        _RUN,
    ),
}


class ErrorRecord(TypedDict):
    """An error as it stands in a journal, a row or an answer of the API."""

    code: str
    message: str
    hint: str
    retryable: bool
    details: dict[str, Any]


class BackpropagateError(Exception):
    """A failure with a stable code, one sentence and the next step.

    Args:
        code: a key of `CATALOGUE`.
        message: one sentence that names the value.
        hint: the next step; the catalogue's when not given.
        details: small JSON values for programs, never secrets.
    """

    def __init__(self, code: str, message: str, *, hint: str | None = None, **details: Any) -> None:
        super().__init__(message)
        kind = CATALOGUE[code]
        self.code = code
        self.message = message
        self.hint = kind.hint if hint is None else hint
        self.retryable = kind.retryable
        self.exit_code = kind.exit_code
        self.details = details

    def __str__(self) -> str:
        return f"[{self.code}]: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (error_from_record, (self.record(),))

    def record(self) -> ErrorRecord:
        """Return the error as plain JSON values."""
        return ErrorRecord(
            code=self.code,
            message=self.message,
            hint=self.hint,
            retryable=self.retryable,
            details=self.details,
        )


class InputError(BackpropagateError):
    """What the user gave cannot be used."""


class ConfigError(BackpropagateError):
    """A setting cannot be used."""


class DependencyError(BackpropagateError):
    """Something outside the product is missing or refused."""


class StateError(BackpropagateError):
    """A file or a run is not in the state that the work needs."""


class RunError(BackpropagateError):
    """Work that had begun came to an end."""


class InternalError(BackpropagateError):
    """A defect of the product."""


_CLASS_BY_PREFIX: Final[dict[str, type[BackpropagateError]]] = {
    "INPUT": InputError,
    "CONFIG": ConfigError,
    "DEP": DependencyError,
    "STATE": StateError,
    "SANDBOX": StateError,
    "INTERNAL": InternalError,
}


def error_from_record(record: ErrorRecord) -> BackpropagateError:
    """Rebuild the error that `record` describes; an unknown code becomes INTERNAL."""
    code = record["code"] if record["code"] in CATALOGUE else "INTERNAL"
    cls = _CLASS_BY_PREFIX.get(code.split("_", 1)[0], RunError)
    return cls(code, record["message"], hint=record["hint"], **record["details"])

"""Logging of the command: redacted lines on standard error, and in a file when one is named."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, Final

from backprop_core.redact import RedactingFormatter, redact

# Our own packages log at the chosen level; libraries only from WARNING on.
_OURS: Final = ("backprop_core", "backpropagate")
_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FILE_ONLY: Final = {"file_only": True}


class JsonFormatter(RedactingFormatter):
    """One redacted JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(*, level: str | None, is_json: bool | None, file: Path | None) -> None:
    """Send log records to standard error and, when named, to a file.

    Values that are None come from the settings. Settings that cannot be read count as defaults here:
    the command that needs them says what is wrong with them.

    Raises:
        ConfigError: CONFIG_INVALID_SETTING when the file cannot be written.
    """
    settings = _settings()
    level = level or settings["log_level"]
    formatter = JsonFormatter() if _first(is_json, settings["log_json"]) else RedactingFormatter(_TEXT)
    console = logging.StreamHandler(sys.stderr)
    console.addFilter(lambda record: not getattr(record, "file_only", False))
    handlers: list[logging.Handler] = [console]
    file = file or settings["log_file"]
    if file is not None:
        handlers.append(_file_handler(file))
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)


def _file_handler(path: Path) -> logging.Handler:
    from backprop_core.errors import ConfigError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "CONFIG_INVALID_SETTING",
            f"The log file {path} cannot be written: {error.strerror}.",
            hint="Name another file with --log-file, or none.",
        ) from error


def _settings() -> dict[str, Any]:
    from backprop_core.config.settings import Settings, load_settings
    from backprop_core.errors import ConfigError

    try:
        settings = load_settings()[0]
    except ConfigError:
        settings = Settings()
    return settings.model_dump(include={"log_level", "log_json", "log_file"})


def _first(given: bool | None, fallback: bool) -> bool:
    return fallback if given is None else given

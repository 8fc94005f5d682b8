"""What holds for every run on this machine, as Python programs ask for it."""

from __future__ import annotations

from backprop_core.config.settings import Settings, load_settings


def get_settings() -> Settings:
    """Return the settings of this machine from environment and `config.toml`.

    Raises:
        ConfigError: a value outside its range or an unknown name.
    """
    return load_settings()[0]

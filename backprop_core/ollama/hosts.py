"""Where Ollama listens: this machine, unless its own variable OLLAMA_HOST names another place.

No page or request body can choose the address.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from backprop_core.errors import ConfigError

_DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}


def ollama_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the base URL of the Ollama server.

    Follows Ollama's own reading of OLLAMA_HOST: `host`, `host:port`, `:port` or a URL. An address that a
    server listens on everywhere with (0.0.0.0) is reached at the loopback one.

    Raises:
        ConfigError: CONFIG_INVALID_SETTING, the variable is no address.
    """
    stored = environment.get("OLLAMA_HOST", "").strip()
    has_scheme = "://" in stored
    try:
        parts = urlsplit(stored if has_scheme else f"http://{stored}")
        port = parts.port
    except ValueError as error:
        raise _invalid(stored) from error
    if parts.scheme not in _SCHEME_PORTS or parts.username or parts.path.strip("/") or parts.query:
        raise _invalid(stored)
    if port is None:
        port = _SCHEME_PORTS[parts.scheme] if has_scheme else _DEFAULT_PORT
    return f"{parts.scheme}://{_reachable(parts.hostname or '')}:{port}"


def _reachable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "127.0.0.1"
    if address.is_unspecified:
        return "[::1]" if address.version == 6 else "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host


def _invalid(value: str) -> ConfigError:
    return ConfigError(
        "CONFIG_INVALID_SETTING",
        f"OLLAMA_HOST is {value!r}, which is no address.",
        hint="Set it to host:port, for example 127.0.0.1:11434.",
    )

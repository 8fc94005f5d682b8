"""Where the credential of the web app comes from; it decides nothing about what is exposed.

A flag wins over the environment, that over `config.toml`, and all of them over the stored one, as with
every setting; within a source a file wins over text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.auth.credential import Credential, parse_credential
from backprop_core.auth.secret_files import read_credential_file
from backprop_core.errors import InputError

FILE_VARIABLE: Final = "BACKPROPAGATE_UI__AUTH_FILE"
TEXT_VARIABLE: Final = "BACKPROPAGATE_UI__AUTH"


@dataclass(frozen=True, slots=True)
class Given:
    """A credential from outside the store.

    Attributes:
        is_inline: whether it stood on the command line, where others can read it.
    """

    credential: Credential
    is_inline: bool = False


def given_credential(
    *,
    text: str | None,
    file: Path | None,
    environ: Mapping[str, str],
    config_file: Path | None = None,
) -> Given | None:
    """Return the credential of flags, environment or configuration; None when none names one.

    Args:
        text: of `--auth`.
        file: of `--auth-file`.
        environ: the environment.
        config_file: `ui.auth_file` of `config.toml`.

    Raises:
        InputError: INPUT_AUTH_INVALID_SHAPE when it cannot be used, or two flags name one each. An empty
            value is a mistake, never a way to go on without a login.
    """
    if text is not None and file is not None:
        raise InputError("INPUT_AUTH_INVALID_SHAPE", "--auth and --auth-file name a credential each.")
    if file is not None:
        return Given(parse_credential(read_credential_file(file), str(file)))
    if text is not None:
        return Given(parse_credential(text, "--auth"), is_inline=True)
    if FILE_VARIABLE in environ:
        path = Path(environ[FILE_VARIABLE]).expanduser()
        return Given(parse_credential(read_credential_file(path), str(path)))
    if TEXT_VARIABLE in environ:
        return Given(parse_credential(environ[TEXT_VARIABLE], TEXT_VARIABLE))
    if config_file is not None:
        path = config_file.expanduser()
        return Given(parse_credential(read_credential_file(path), str(path)))
    return None

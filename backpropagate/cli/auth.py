"""`backprop auth`: the login of the web app, its sessions, and tokens for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from backpropagate.cli.root import command

if TYPE_CHECKING:
    from pathlib import Path

    from backprop_core.auth.credential import Credential

_DEFAULT_USER: Final = "operator"

AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        help="The login of the web app, its sessions, and tokens for scripts.", no_args_is_help=True
    )
    command(group, "set")(set_password)
    command(group, "remove")(remove)
    command(group, "logout-all")(logout_all)
    command(group, "token")(token)
    app.add_typer(group, name="auth")


def set_password(
    user: Annotated[str | None, typer.Option("--user", help="User name; asked for when not given.")] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Make a random password and show it once, here.")
    ] = False,
) -> None:
    """Set user and password of the web app. Pages that are open with the old one close at once."""
    from backprop_core.services import access
    from backpropagate.cli.render import put, talk

    credential = _generated(user) if generate else _typed(user)
    access.set_password(_home(), credential)
    talk(f"The web app asks for the login of {credential.user} from its next start on, wherever it listens.")
    if generate:
        put(credential.password)


def remove() -> None:
    """Forget user and password; the web app then asks for none and stays on this machine."""
    from backprop_core.services import access
    from backpropagate.cli.render import talk

    removed = access.remove_password(_home())
    talk("The login is removed." if removed else "No login was set.")


def logout_all() -> None:
    """End every session of the web app; open pages close within two seconds."""
    from backprop_core.services import access
    from backpropagate.cli.render import talk

    count = access.log_out_all(_home())
    talk(f"{count} session{'' if count == 1 else 's'} ended.")


def token(
    name: Annotated[str, typer.Option("--name", help="What the token is for.")] = "script",
    show: Annotated[bool, typer.Option("--list", help="List the tokens instead of making one.")] = False,
    revoke: Annotated[
        str | None, typer.Option("--revoke", metavar="ID", help="Make a token useless.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Make a token that lets a script use /api and /v1; it is shown once."""
    from backprop_core.services import access
    from backpropagate.cli.render import put, put_json, table, talk

    home = _home()
    if revoke is not None:
        access.revoke_token(home, revoke)
        talk(f"The token {revoke} is revoked.")
        return
    if show:
        rows = [(item.token_id, item.name, _date(item.created_at)) for item in access.list_tokens(home)]
        if as_json:
            put_json("tokens", [dict(zip(("id", "name", "created_at"), row, strict=True)) for row in rows])
        else:
            table(("ID", "NAME", "CREATED"), rows)
        return
    made, secret = access.create_token(home, name)
    if as_json:
        put_json("token", {"id": made.token_id, "name": made.name, "token": secret})
        return
    talk(f"Token {made.token_id}, shown once. Use it as: Authorization: Bearer TOKEN")
    put(secret)


def _typed(user: str | None) -> Credential:
    from backprop_core.auth.credential import check_credential, weakness
    from backprop_core.errors import InputError
    from backpropagate.cli.render import talk

    name = user or typer.prompt("User", default=_DEFAULT_USER, err=True)
    first = typer.prompt("Password", hide_input=True, err=True, default="", show_default=False)
    credential = check_credential(name, first, "The login")
    again = typer.prompt("Once more", hide_input=True, err=True, default="", show_default=False)
    if again != first:
        raise InputError("INPUT_AUTH_INVALID_SHAPE", "The two passwords differ.", hint="Nothing was changed.")
    if warning := weakness(credential):
        talk(f"warning: {warning}")
    return credential


def _generated(user: str | None) -> Credential:
    from backprop_core.auth.credential import check_credential
    from backprop_core.services import access

    return check_credential(user or _DEFAULT_USER, access.generate_password(), "The login")


def _home() -> Path:
    from backprop_core.config.settings import load_settings

    return load_settings()[0].home


def _date(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

"""A gate with a login in front of a small app, and a browser-like client that speaks to it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import httpx

from backprop_app.security.access import Access
from backprop_app.security.guard import open_access
from backprop_core.auth.credential import Credential
from backprop_core.auth.store import AuthStore
from backprop_core.ports import Clock
from backprop_core.services.access import Login

USER = "mara"
PASSWORD = "correct horse: battery"


def access_at(home: Path, clock: Clock | None = None, *, password: str = PASSWORD) -> Access:
    """Open the login of `home`, set up with one user; hashing happens once per home."""
    store = AuthStore(home)
    account = store.account("stored")
    if account is None:
        store.set_account("stored", Credential(USER, password))
    return open_access(Login(store, "stored"), home, clock)


class Visitor:
    """A client with cookies that fills in the login form as a browser does."""

    def __init__(self, port: int, host: str = "127.0.0.1", **headers: str) -> None:
        self.base = f"http://{host}:{port}"
        self.http = httpx.Client(
            base_url=self.base, headers=headers, follow_redirects=False, trust_env=False, timeout=20
        )

    def form(self, next_page: str = "") -> dict[str, str]:
        """Open the login page and return its hidden fields."""
        page = self.http.get("/login", params={"next": next_page} if next_page else None)
        assert page.status_code == 200, page.text
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
        return {name: html.unescape(value) for name, value in found}

    def log_in(self, user: str = USER, password: str = PASSWORD, next_page: str = "") -> httpx.Response:
        """Open the page, type a pair and send the form."""
        fields = self.form(next_page) | {"user": user, "password": password}
        return self.http.post("/login", data=fields, headers={"origin": self.base})

    def post(self, path: str, **kwargs: object) -> httpx.Response:
        """Send a POST as a page of ours would."""
        return self.http.post(path, headers={"origin": self.base}, **kwargs)  # type: ignore[arg-type]

    @property
    def cookie(self) -> str:
        """The Cookie header with the session."""
        return "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())

    def close(self) -> None:
        """Close connections."""
        self.http.close()

"""The login page as HTML: the look of the app, no script, and nothing that a stranger should not see.

Colours and sizes come from the token blocks of the bundle's `theme.css`; the rules below use tokens only.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_app.security.paths import LOGIN, LOGIN_FONT

_TOKEN_BLOCKS: Final = re.compile(r"^:root[^{]*\{[^}]*\}", re.MULTILINE)
_FONT: Final = "inter-latin-opsz-normal.woff2"

_STYLE: Final = """
@font-face{font-family:"Inter Variable";src:url("%(font)s") format("woff2");font-weight:100 900;font-display:swap}
*{box-sizing:border-box}
html{background:var(--bg);color:var(--text);font:400 var(--fs-2)/20px var(--sans);letter-spacing:-.004em;-webkit-font-smoothing:antialiased}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:var(--s6)}
h1,p{margin:0}
main{width:100%%;max-width:360px}
svg{flex:none}
.brand{display:flex;align-items:center;justify-content:center;gap:var(--s3);margin-bottom:var(--s6);font:600 var(--fs-4)/24px var(--sans);letter-spacing:-.01em}
.brand rect{fill:var(--accent)}
form{display:flex;flex-direction:column;gap:var(--s4);padding:var(--s6);background:var(--panel);border:1px solid var(--line);border-radius:var(--r3)}
h1{font:600 18px/26px var(--sans);letter-spacing:-.014em}
.sub{margin-top:2px;color:var(--text-2)}
label{display:block;margin-bottom:6px;font-weight:500}
input{width:100%%;height:40px;padding:0 var(--s3);font:inherit;color:inherit;background:var(--field);border:1px solid var(--control);border-radius:var(--r2)}
input[aria-invalid]{border-color:var(--danger)}
button{height:40px;font:inherit;font-weight:600;color:var(--on-accent);background:var(--accent);border:0;border-radius:var(--r2);cursor:pointer}
button:hover{background:var(--accent-hover)}
:focus-visible{outline:2px solid var(--focus);outline-offset:2px}
.line{display:flex;align-items:flex-start;gap:var(--s2);font-size:var(--fs-1);line-height:18px}
.line svg{margin-top:2px}
.error{margin-top:6px;gap:6px;color:var(--danger)}
.about{margin-top:var(--s5);padding:0 var(--s1);color:var(--text-2)}
.lost{margin-top:10px;padding:0 var(--s1) 0 26px;font-size:var(--fs-1);line-height:18px;color:var(--text-3)}
code{font-family:var(--mono);font-size:.94em;color:var(--text-2)}
""" % {"font": LOGIN_FONT}  # noqa: UP031 - braces of the style stand as they are

_ICON: Final = (
    '<svg width="14" height="14" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" '
    'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>'
)
_WARNING: Final = _ICON.format('<path d="M12 4l9 16H3zM12 10v4.5M12 17.2v.1"/>')
_LOCK: Final = _ICON.format(
    '<rect x="5" y="11" width="14" height="9" rx="2"/><path d="M8 11V8a4 4 0 0 1 8 0v3"/>'
)
_BRAND: Final = (
    '<svg width="20" height="20" viewBox="0 0 20 20" aria-hidden="true"><rect width="20" height="20" rx="5"/>'
    '<g fill="none" stroke="#fff" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round">'
    '<path d="M15.5 13.8C8.5 13.8 6 11.3 4.8 6"/><path d="M2.9 8.4L4.6 5.7l2.7 1.5"/></g></svg>'
)


@dataclass(frozen=True, slots=True)
class LoginForm:
    """What the page shows.

    Attributes:
        token: in a hidden field, the same as in the cookie of the form.
        next: page to open after the login.
        user: as typed before.
        error: one sentence under the password, empty for none.
    """

    token: str
    next: str = "/"
    user: str = ""
    error: str = ""


class LoginPage:
    """Renders the page from the look that lies in `folder`: of the bundle, or the sources of it."""

    def __init__(self, folder: Path) -> None:
        theme = (folder / "theme.css").read_text(encoding="utf-8")
        self._style = "".join(_TOKEN_BLOCKS.findall(theme)) + _STYLE
        self.font = (folder / "fonts" / _FONT).read_bytes()

    def render(self, form: LoginForm) -> str:
        """Return the whole page; every text from outside stands in it as text."""
        user, token, wanted = (html.escape(text, quote=True) for text in (form.user, form.token, form.next))
        error = describes = ""
        if form.error:
            describes = ' aria-invalid="true" aria-describedby="error"'
            error = f'<div id="error" class="line error" role="alert">{_WARNING}<span>{html.escape(form.error)}</span></div>'
        focus_user, focus_password = ("", " autofocus") if form.user else (" autofocus", "")
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sign in · Backpropagate</title><link rel="icon" href="/favicon.svg" type="image/svg+xml">
<style>{self._style}</style></head><body><main>
<div class="brand">{_BRAND}Backpropagate</div>
<form method="post" action="{LOGIN}">
<div><h1>Sign in</h1><p class="sub">to your training machine</p></div>
<div><label for="user">User</label><input id="user" name="user" value="{user}" autocomplete="username" autocapitalize="none" spellcheck="false" required{focus_user}></div>
<div><label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password" required{focus_password}{describes}>{error}</div>
<input type="hidden" name="token" value="{token}"><input type="hidden" name="next" value="{wanted}">
<button type="submit">Sign in</button></form>
<div class="line about">{_LOCK}<span>Runs on your own machine. Before you sign in it shows nothing else, and a run in progress goes on without you.</span></div>
<div class="lost">Lost the password? On the machine: <code>backprop auth set</code></div>
</main></body></html>
"""

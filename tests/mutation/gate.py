"""Takes each protection of the gate, the sandbox and the readers of foreign files out, one at a time, and shows that a test goes red.

`python -m tests.mutation.gate` works through all of them on a copy of the source; `--quick` through those
without which the app would be open. A mutation that no test catches is a hole in the tests: exit 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_COPIED = (
    "backprop_core",
    "backprop_app",
    "backpropagate",
    "tests",
    "assets",
    "examples",
    "pyproject.toml",
    "benchmarks",
)
_GATE = "backprop_app/security/gate.py"
_RULES = "backprop_app/security/rules.py"
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutation:
    """One protection taken out.

    Attributes:
        name: of the protection.
        path: file that has it.
        before, after: text in that file; `before` stands there exactly once.
        tests: what must go red, as arguments of pytest.
        is_quick: whether it belongs to the short list.
    """

    name: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]
    is_quick: bool = False


_TEST_GATE, _TEST_LOGIN = "tests/integration/test_gate.py", "tests/integration/test_login.py"
_TEST_SHARE = "tests/integration/test_share.py"

MUTATIONS = (
    Mutation(
        "Origin check",
        _GATE,
        "    refusal = rules.check_origin(headers, host, scheme, required=is_socket)\n",
        "    refusal = None\n",
        (_TEST_GATE, "-k", "origin"),
        is_quick=True,
    ),
    Mutation(
        "Host check",
        _RULES,
        "if host is None or not (is_loopback(host.name) or host.name in policy.allowed_hosts):",
        "if host is None:",
        (_TEST_GATE, "-k", "host"),
        is_quick=True,
    ),
    Mutation(
        "session check of websockets",
        _GATE,
        '    if is_http and paths.is_public(scope["method"], scope["path"]):',
        '    if not is_http or paths.is_public(scope["method"], scope["path"]):',
        (_TEST_LOGIN, "-k", "refused_before_it_opens"),
        is_quick=True,
    ),
    Mutation(
        "content policy",
        "backprop_app/security/csp.py",
        "f\"default-src 'none'; script-src {scripts}; ",
        "f\"default-src *; script-src {scripts} 'unsafe-eval' 'unsafe-inline'; ",
        ("tests/unit/app/test_csp.py",),
        is_quick=True,
    ),
    Mutation(
        "redactor",
        "backprop_core/redact.py",
        "    text = _WHOLE.sub(_MASK, text)\n",
        "    return text\n",
        ("tests/unit/test_redact.py",),
        is_quick=True,
    ),
    Mutation(
        "limiter",
        "backprop_core/auth/limiter.py",
        "            if wait > 0:\n",
        "            if wait < 0:\n",
        ("tests/unit/auth/test_limiter.py",),
        is_quick=True,
    ),
    Mutation(
        "folders opened by handle, no link followed",
        "backprop_core/platform.py",
        "    _FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC\n",
        "    _FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC\n",
        ("tests/unit/test_sandbox.py", "-k", "link"),
        is_quick=True,
    ),
    Mutation(
        "files with a second name are not written to",
        "backprop_core/platform.py",
        "    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:\n",
        "    if False:\n",
        ("tests/unit/test_sandbox.py", "-k", "second_name"),
    ),
    Mutation(
        "quota",
        "backprop_core/services/room.py",
        "    if ws.settings.ui__quota_gib is not None:\n",
        "    if False:\n",
        ("tests/unit/services/test_trash.py", "-k", "quota"),
        is_quick=True,
    ),
    Mutation(
        "reserve of the disk",
        "backprop_core/services/room.py",
        "disk.free - reserve_bytes(disk.total)",
        "disk.free",
        ("tests/unit/services/test_trash.py", "-k", "reserve"),
    ),
    Mutation(
        "only listed things are deleted",
        "backprop_core/services/trash.py",
        "if prefix and entry.trash_id.startswith(prefix)]",
        "if entry.trash_id.startswith(prefix)]",
        ("tests/unit/services/test_trash.py", "-k", "in_the_trash"),
    ),
    Mutation(
        "code named by a config is refused",
        "backprop_core/hub/model_folder.py",
        "        if (key in _REMOTE_CODE_FIELDS and item not in (None, False, {})) or _names_repository(key, item):\n",
        "        if False:\n",
        ("tests/unit/hub/test_model_folder.py", "-k", "code"),
        is_quick=True,
    ),
    Mutation(
        "pickled weights are refused",
        "backprop_core/gguf/source.py",
        "    if pickles:\n",
        "    if False:\n",
        ("tests/unit/gguf/test_safetensors.py", "-k", "pickle"),
    ),
    Mutation(
        "limits of a template's child",
        "backprop_core/datasets/rendering.py",
        "within_s=self._patience_s",
        "within_s=self._patience_s + 8",
        ("tests/integration/test_data_child.py", "-k", "without_end_is_stopped_in_time"),
    ),
    Mutation(
        "session check of requests",
        _GATE,
        "    session = guard.access.session(headers, is_tls=is_tls)\n",
        "    session = Session('', 'x', 0, 0, 0)\n",
        (_TEST_LOGIN,),
    ),
    Mutation(
        "public paths compared as a whole",
        "backprop_app/security/paths.py",
        "    return (method, path) in PUBLIC\n",
        "    return any(method == known and path.startswith(prefix) for known, prefix in PUBLIC)\n",
        (_TEST_LOGIN,),
    ),
    Mutation(
        "normal form of addresses",
        "backprop_app/security/paths.py",
        "    normal = posixpath.normpath(path)\n",
        "    return True\n    normal = path\n",
        ("tests/unit/app/test_paths.py",),
    ),
    Mutation(
        "site of changing requests",
        _RULES,
        "    return None if all(site in _SAME_SITE for site in sites) else WRONG_ORIGIN\n",
        "    return None\n",
        (_TEST_GATE,),
    ),
    Mutation(
        "bytes of a body counted",
        _GATE,
        '        self._left -= len(message.get("body", b""))\n',
        "",
        (_TEST_GATE,),
    ),
    Mutation(
        "websockets of a session counted",
        "backprop_app/security/live.py",
        "        return owner is None or len(owner.sockets) < self._session_limit\n",
        "        return True\n",
        (_TEST_LOGIN, "-k", "so_many"),
    ),
    Mutation(
        "a tab's state bound to its session",
        _GATE,
        "            if not guard.live.is_client_of(client, grant.session):\n",
        "            if False:\n",
        (_TEST_LOGIN, "-k", "state_of_a_tab"),
    ),
    Mutation(
        "open websockets end with their session",
        "backprop_app/security/live.py",
        "            for sid_hash in ended:\n",
        "            for sid_hash in ():\n",
        (_TEST_LOGIN, "-k", "websocket"),
    ),
    Mutation(
        "a logout ends the session on the server",
        "backprop_app/security/access.py",
        "        await asyncio.to_thread(self._store.end_session, session.sid_hash)\n",
        "",
        (_TEST_LOGIN, "-k", "logout"),
    ),
    Mutation(
        "a new password raises the epoch",
        "backprop_core/auth/store.py",
        ' + 1\n            connection.execute("UPDATE meta',
        ' + (0 if known else 1)\n            connection.execute("UPDATE meta',
        ("tests/unit/auth/test_store.py",),
    ),
    Mutation(
        "tokens for the API alone",
        "backprop_app/security/paths.py",
        "    return path.startswith(_SCRIPTS)\n",
        "    return True\n",
        (_TEST_LOGIN, "-k", "token"),
    ),
    Mutation(
        "address of a quick tunnel read as a whole",
        "backprop_app/sharing/providers.py",
        "        match = _QUICK_NAME.fullmatch(word)\n",
        "        match = _QUICK_NAME.search(word)\n",
        ("tests/unit/app/test_providers.py",),
    ),
    Mutation(
        "a tunnel must end at this gate",
        "backprop_app/sharing/share.py",
        "                await self._wait_for_this_gate(reach)\n",
        "",
        (_TEST_SHARE, "-k", "hides_its_name"),
    ),
    Mutation(
        "a stranger's knock through the tunnel",
        "backprop_app/sharing/share.py",
        "        if any(result.status for result in results if not result.holds):\n",
        "        if False:\n",
        (_TEST_SHARE, "-k", "lets_strangers_in"),
    ),
    Mutation(
        "the name of a tunnel leaves the list with it",
        "backprop_app/sharing/share.py",
        "        self._door.change(self._policy)\n        await self._tunnel.stop()\n",
        "        await self._tunnel.stop()\n",
        (_TEST_SHARE, "-k", "ends_with_its_time"),
    ),
    Mutation(
        "no program of the current folder",
        "backprop_app/sharing/tunnel.py",
        "        if not entry or not folder.is_absolute() or folder == Path.cwd():\n",
        "        if False:\n",
        ("tests/unit/app/test_providers.py", "-k", "current_folder"),
    ),
    Mutation(
        "header fields of a ticket",
        "backprop_app/security/tickets.py",
        "            if jwt.get_unverified_header(text) != _HEADER:\n",
        "            if False:\n",
        ("tests/unit/app/test_tickets.py",),
    ),
    Mutation(
        "life of a ticket",
        "backprop_app/security/tickets.py",
        "    if not 0 < expires_at - issued_at <= LIFE_S:\n",
        "    if False:\n",
        ("tests/unit/app/test_tickets.py",),
    ),
    Mutation(
        "the token in the login form",
        "backprop_app/security/login.py",
        '        if not _is_our_form(headers, _first(fields, "token"), caller):\n',
        "        if False:\n",
        (_TEST_LOGIN, "-k", "form"),
    ),
    Mutation(
        "where a login leads to",
        "backprop_app/security/paths.py",
        "    if len(wanted) > _MAX_NEXT or not _PAGE.match(wanted) or _NOT_AFTER_LOGIN.match(wanted):\n",
        "    if False:\n",
        (_TEST_LOGIN, "-k", "lands"),
    ),
    Mutation(
        "the cookie kept from scripts and other sites",
        "backprop_app/security/cookies.py",
        '"; HttpOnly; SameSite=Strict"',
        '""',
        (_TEST_LOGIN, "-k", "cookie"),
    ),
    Mutation(
        "cookies kept from the app behind the gate",
        _GATE,
        'frozenset({b"cookie", b"authorization", b"proxy-authorization", USER_HEADER})',
        "frozenset()",
        (_TEST_LOGIN, "-k", "secret"),
    ),
    Mutation(
        "a hash for every try",
        "backprop_app/security/access.py",
        '    is_right = verify_password(password if is_possible else "", account.hash)\n',
        "    is_right = user == account.user and verify_password(password, account.hash)\n",
        (_TEST_LOGIN, "-k", "wrong_name"),
    ),
    Mutation(
        "credential files for the user alone",
        "backprop_core/auth/secret_files.py",
        "    if facts.st_mode & 0o077:\n",
        "    if False:\n",
        ("tests/unit/auth",),
    ),
    Mutation(
        "no exposure without a login",
        "backprop_app/security/modes.py",
        "    if what and not has_credential:\n",
        "    if False:\n",
        ("tests/unit/app/test_modes.py",),
    ),
    Mutation(
        "arguments of handlers",
        "backprop_app/arguments.py",
        '            raise ValueError(f"the argument {name} is missing")\n',
        "            pass\n",
        ("tests/unit/app/test_arguments.py",),
    ),
    Mutation(
        "the gate fails closed without a policy",
        "backprop_app/security/guard.py",
        "Policy(require_session=login is not None, upload_cap_bytes",
        "Policy(require_session=False, upload_cap_bytes",
        (_TEST_LOGIN, "-k", "nobody_prepared"),
    ),
)


@contextmanager
def copied_source() -> Iterator[Path]:
    """Yield a copy of everything that the tests need."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        for name in _COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "data"))
            else:
                shutil.copy2(source, target)
        yield Path(folder)


def is_caught(mutation: Mutation, copy: Path) -> bool:
    """Take the protection out of the copy, run its tests, put it back; tell whether one went red."""
    path = copy / mutation.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.name}: its text does not stand once in {mutation.path}")
    if not _are_green(mutation.tests, copy):
        raise RuntimeError(f"{mutation.name}: its tests are red with the protection in place")
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        return not _are_green(mutation.tests, copy)
    finally:
        path.write_text(text, encoding="utf-8")


def _are_green(tests: tuple[str, ...], copy: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    # 1 is a failed test; anything else is a run that told nothing.
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"pytest {tests} ended with {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Work through the mutations and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the short list")
    chosen = [mutation for mutation in MUTATIONS if mutation.is_quick or not parser.parse_args().quick]
    survived = 0
    with copied_source() as copy:
        for mutation in chosen:
            start = time.perf_counter()
            caught = is_caught(mutation, copy)
            survived += not caught
            print(
                f"{'caught  ' if caught else 'SURVIVED'}  {time.perf_counter() - start:5.1f} s  {mutation.name}",
                flush=True,
            )
    print(f"{len(chosen) - survived} of {len(chosen)} caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())

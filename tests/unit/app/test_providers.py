"""Tunnel providers: which choices are understood, what is run, and how strictly its words are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_app.sharing.providers import OwnServer, QuickTunnel, choose, life_s, read_quick_tunnel
from backprop_app.sharing.tunnel import find_program
from backprop_core.errors import InputError

URL = "https://quiet-paper-boat-lamp.trycloudflare.com"


@pytest.mark.parametrize(
    "line",
    [URL, f"2026-01-01T00:00:01Z INF |  {URL}      |", f"{URL}/"],
)
def test_the_address_of_a_quick_tunnel_is_found(line):
    reach = read_quick_tunnel(line)
    assert reach is not None
    assert (reach.url, reach.name, reach.dial) == (URL, URL[8:], (URL[8:], 443))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "https://evil.example",
        "https://api.trycloudflare.com",
        "https://trycloudflare.com",
        "http://quiet-paper.trycloudflare.com",
        "https://quiet-paper.trycloudflare.com.evil.example",
        "https://evil.example/https://quiet-paper.trycloudflare.com",
        "https://evil.example#quiet-paper.trycloudflare.com",
        "https://user@quiet-paper.trycloudflare.com",
        "https://quiet-paper.trycloudflare.com:8443",
        "https://quiet-paper.trycloudflare.com/path",
        "https://quiet-paper.trycloudflare.com.",
        "https://Quiet-Paper.trycloudflare.com",
        "https://quiet-.trycloudflare.com",
        "https://a.quiet-paper.trycloudflare.com",
        "xhttps://quiet-paper.trycloudflare.com",
        "https://quiet-paper.trycloudflare.com\x1b[0m",
        "https://quıet-paper.trycloudflare.com",
    ],
)
def test_what_only_looks_like_it_is_not(line):
    assert read_quick_tunnel(line) is None


@pytest.mark.parametrize(
    "text",
    [
        "ngrok",
        "ssh:",
        "ssh:box",
        "ssh:@box",
        "ssh:mara@",
        "ssh:-oProxyCommand=x@box",
        "ssh:mara@-oProxyCommand=x",
        "ssh:mara@box -R 1",
        "ssh:mara@box\n",
        "ssh:mara@box..lan",
        "ssh:mara@box:0",
        "ssh:mara@box:70000",
        "ssh:ma ra@box",
        "ssh:mara;id@box",
        "cloudflared --url x",
        "/bin/sh",
    ],
)
def test_a_choice_that_is_none_is_refused(text):
    with pytest.raises(InputError) as caught:
        choose(text)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"


def test_the_choices_that_there_are():
    assert isinstance(choose(""), QuickTunnel)
    assert isinstance(choose("cloudflared"), QuickTunnel)
    assert choose("ssh:mara@box.example") == OwnServer("mara", "box.example")
    assert choose("ssh:mara@10.0.0.7:2222") == OwnServer("mara", "10.0.0.7", 2222)


def test_ssh_asks_nothing_trusts_no_new_key_and_cannot_read_the_host_as_an_option():
    plan = OwnServer("mara", "box", 2222).plan(Path("/usr/bin/ssh"), 7860, 40_001, Path("/c"))
    words = plan.command
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes"):
        assert option in words
    assert words[-5:] == ("2222", "-l", "mara", "--", "box")
    assert "127.0.0.1:7860:127.0.0.1:7860" in words
    assert plan.reach is not None
    assert plan.reach.dial == ("127.0.0.1", 40_001)
    assert not plan.reach.is_lasting


def test_cloudflared_updates_nothing_and_reads_no_other_configuration():
    plan = QuickTunnel().plan(Path("/usr/bin/cloudflared"), 7860, 1, Path("/empty.yml"))
    assert plan.command == (
        *("/usr/bin/cloudflared", "tunnel", "--config", "/empty.yml", "--no-autoupdate"),
        *("--url", "http://127.0.0.1:7860"),
    )
    assert plan.reach is None


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("8h", 28_800), ("7d", 604_800), ("1m", 60)])
def test_a_time_is_read(text, seconds):
    assert life_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0h", "8", "8 h", "-8h", "8d", "1e3h", "inf", "８h", "8h\n"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(InputError) as caught:
        life_s(text)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"


def test_a_program_in_the_current_folder_is_never_found(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "cloudflared").write_text("#!/bin/sh\n")
        (folder / "cloudflared").chmod(0o755)
    monkeypatch.chdir(here)
    for path in ("", ".", ":", "./", "../here", str(here)):
        assert find_program("cloudflared", {"PATH": path}) is None
    assert find_program("cloudflared", {"PATH": f".:{here}:{there}"}) == there / "cloudflared"
    assert find_program("cloudflared", {}) is None
    (there / "cloudflared").chmod(0o644)
    assert find_program("cloudflared", {"PATH": str(there)}) is None

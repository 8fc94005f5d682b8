"""The bundle: addresses taken from the page itself, and a manifest that tells a stale one."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from backprop_app.build import manifest
from backprop_app.build.same_origin import SameOriginPlugin, same_origin
from backprop_core.errors import DependencyError
from backprop_core.version import __version__

BUILT = manifest.Manifest(__version__, metadata.version("reflex"), "schema", "source")


def test_every_localhost_address_becomes_an_expression() -> None:
    script = 'e={PING:"http://localhost:7860/ping",EVENT:`ws://localhost:7860/_event`,T:"websocket"}'
    assert same_origin(script) == (
        'e={PING:(location.origin+"/ping"),EVENT:(location.origin.replace(/^http/,"ws")+"/_event"),T:"websocket"}',
        2,
    )


def test_other_addresses_stay() -> None:
    assert same_origin('"https://example.org/localhost"') == ('"https://example.org/localhost"', 0)


def test_the_build_stops_when_there_is_nothing_to_rewrite(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "reflex-env-1.js").write_text('var e={PING:"/ping"}')
    with pytest.raises(RuntimeError, match="no address to rewrite"):
        SameOriginPlugin().post_build(static_dir=tmp_path)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    manifest.write(BUILT, tmp_path / "build.json")
    assert manifest.read(tmp_path / "build.json") == BUILT


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"version": "1"}'])
def test_a_missing_or_damaged_manifest_has_a_code(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "build.json").write_text(content)
    with pytest.raises(DependencyError) as caught:
        manifest.read(tmp_path / "build.json")
    assert caught.value.code == "RUNTIME_UI_BUNDLE_INVALID"


def test_a_bundle_of_the_running_code_matches() -> None:
    manifest.require_match(BUILT, "schema")


@pytest.mark.parametrize(
    ("field", "word"), [("version", "version"), ("reflex", "reflex"), ("state_schema", "state_schema")]
)
def test_a_stale_bundle_is_refused_by_name(field: str, word: str) -> None:
    values = {name: getattr(BUILT, name) for name in manifest.Manifest.__slots__} | {field: "other"}
    with pytest.raises(DependencyError, match=word) as caught:
        manifest.require_match(manifest.Manifest(**values), "schema")
    assert caught.value.code == "RUNTIME_UI_BUNDLE_INVALID"


def test_the_source_hash_sees_an_edit_but_no_line_ending(tmp_path: Path) -> None:
    page = tmp_path / "backprop_app" / "page.py"
    page.parent.mkdir()
    page.write_bytes(b"a = 1\n")
    before = manifest.source_hash(tmp_path)
    page.write_bytes(b"a = 1\r\n")
    assert manifest.source_hash(tmp_path) == before
    page.write_bytes(b"a = 2\n")
    assert manifest.source_hash(tmp_path) != before


def test_the_source_hash_leaves_out_what_was_built(tmp_path: Path) -> None:
    (tmp_path / "backprop_app" / "_web").mkdir(parents=True)
    before = manifest.source_hash(tmp_path)
    (tmp_path / "backprop_app" / "_web" / "x.py").write_text("a = 1")
    assert manifest.source_hash(tmp_path) == before

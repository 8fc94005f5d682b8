"""The content policy: hashes of inline scripts, and headers that no answer may lack or carry."""

from __future__ import annotations

from backprop_app.security import csp

# printf 'let a = 1' | openssl dgst -sha256 -binary | base64
HASH = "'sha256-LAfYd7pbFUgwfQu8b4q135PeTG2z+/coPEUYCd74eCQ='"


def test_an_inline_script_is_named_by_its_hash() -> None:
    assert csp.script_hashes("<script>let a = 1</script>") == {HASH}


def test_a_script_with_a_source_has_no_hash() -> None:
    assert csp.script_hashes('<script src="/a.js"></script>') == set()


def test_entities_in_a_script_are_hashed_as_they_stand() -> None:
    plain = csp.script_hashes("<script>a &amp; b</script>")
    assert plain != csp.script_hashes("<script>a & b</script>")


def test_the_policy_allows_no_inline_script_but_the_named_ones() -> None:
    policy = csp.content_policy("localhost:7860", (HASH,))
    assert f"script-src 'self' {HASH};" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self' 'unsafe-inline'" not in policy
    assert "connect-src 'self' ws://localhost:7860 wss://localhost:7860" in policy


def test_cross_origin_grants_of_inner_layers_are_removed() -> None:
    inner = [(b"Access-Control-Allow-Origin", b"https://evil.example"), (b"content-type", b"text/html")]
    names = [name.lower() for name, _ in csp.secured(inner, "/", "localhost", (), 200)]
    assert b"access-control-allow-origin" not in names
    assert names.count(b"content-security-policy") == 1
    assert b"x-frame-options" in names


def test_only_finished_assets_may_be_cached() -> None:
    def cache(path: str, status: int) -> bytes:
        return dict(csp.secured([(b"cache-control", b"public")], path, "localhost", (), status))[
            b"cache-control"
        ]

    assert cache("/assets/app-1a2b.js", 200) == b"public, max-age=31536000, immutable"
    assert cache("/assets/missing.js", 404) == b"no-store"
    assert cache("/", 200) == b"no-store"
    assert cache("/api/runs", 200) == b"no-store"

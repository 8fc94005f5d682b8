import logging

import pytest

from backprop_core.redact import RedactingFormatter, redact, redact_value

SECRETS = [
    "hf_abcdefghijklmnop",
    "sk-proj-abcdefghijklmnop",
    "AKIAABCDEFGHIJKLMNOP",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    "Bearer abcdef0123456789",
    "password=hunter2",
    'api_key: "s3cr3t value"',
    "token=abc123def",
    "HF_TOKEN=hunter2hunter2",
    "https://alice:hunter2@example.org/x",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_does_not_survive(secret):
    cleaned = redact(f"before {secret} after")
    assert "[redacted]" in cleaned
    for part in (
        "hunter2",
        "abcdefghijklmnop",
        "ABCDEFGHIJKLMNOP",
        "c2lnbmF0dXJl",
        "abcdef0123456789",
        "s3cr3t",
        "abc123def",
    ):
        assert part not in cleaned
    assert cleaned.startswith("before ")


@pytest.mark.parametrize(
    "text", ["tokens=1,140 of 2048", "max_token: 512", "a plain sentence", "step 3 loss 1.2"]
)
def test_plain_text_stays_as_it_is(text):
    assert redact(text) == text


def test_every_string_in_a_value_is_redacted():
    assert redact_value({"a": ["password=x1y2z3", 3], "b": {"c": "fine"}}) == {
        "a": ["password=[redacted]", 3],
        "b": {"c": "fine"},
    }


def test_a_traceback_in_a_log_line_is_redacted():
    try:
        raise ValueError("token=hunter2hunter2")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", None, __import__("sys").exc_info())
    assert "hunter2" not in RedactingFormatter().format(record)

"""Names of uploaded files."""

from __future__ import annotations

import re

import pytest

from backprop_app.api.uploads import safe_name
from backprop_core.errors import InputError
from backprop_core.sandbox import check_segment


@pytest.mark.parametrize(
    ("given", "stem", "suffix"),
    [
        ("support tickets (1).jsonl", "support-tickets-1", ".jsonl"),
        ("../../etc/passwd.jsonl", "passwd", ".jsonl"),
        ("C:\\temp\\a.CSV", "a", ".csv"),
        ("rows.jsonl.gz", "rows", ".jsonl.gz"),
        ("\u202eevil.jsonl", "evil", ".jsonl"),
        ("Zürich.jsonl", "Zu-rich", ".jsonl"),
        ("日本.jsonl", "data", ".jsonl"),
        ("con.jsonl", "con", ".jsonl"),
        ("-rf.jsonl", "rf", ".jsonl"),
        ("a" * 300 + ".jsonl", "a" * 60, ".jsonl"),
        ("a:b.jsonl", "a-b", ".jsonl"),
    ],
)
def test_a_name_keeps_its_words_and_becomes_safe(given: str, stem: str, suffix: str) -> None:
    name = safe_name(given)
    assert re.fullmatch(re.escape(stem) + "-[0-9a-f]{4}" + re.escape(suffix), name)
    assert check_segment(name) == name


@pytest.mark.parametrize("given", ["virus.exe", "noending", "", ".jsonl", "a.pkl", "a.jsonl\x00.exe"])
def test_a_type_that_is_not_read_is_refused(given: str) -> None:
    with pytest.raises(InputError) as caught:
        safe_name(given)
    assert caught.value.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"


def test_two_files_with_one_name_stay_apart() -> None:
    assert safe_name("a.jsonl") != safe_name("a.jsonl")

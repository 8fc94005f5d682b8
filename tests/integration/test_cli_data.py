"""`backprop data` on real files, with the tokenizer of the tutorial model where tokens are shown."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from backpropagate.cli.main import main
from tests.support.models import tutorial_model_dir

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def data(capsys, tmp_path, monkeypatch):
    """Return a function that runs `backprop data` on a file `rows.jsonl` of the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_bytes((EXAMPLES / "quickstart.jsonl").read_bytes())
    root = logging.getLogger()
    before = root.handlers[:]

    def run(word, *arguments, file="rows.jsonl"):
        code = main(["data", word, file, *map(str, arguments)])
        root.handlers[:] = before
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def model():
    return str(tutorial_model_dir())


def lines(path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def put(*rows) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def said(user: str, assistant: str) -> dict:
    return {"prompt": user, "completion": assistant}


def test_preview_marks_the_tokens_that_carry_loss_and_those_that_are_cut_off(data, model):
    code, out, err = data("preview", "-m", model, "--rows", 1, "--max-seq-length", 60)
    assert code == 0
    assert out.startswith("row 1: 63 tokens, 26 carry loss, 3 cut off\n  <|im_start|>system\n")
    assert "⟦I'm Pip, the workshop helper" in out
    assert "whistle⟧⟪!<|im_end|>\n  ⟫" in out
    assert "⟦…⟧ carries loss" in err


def test_preview_as_json_holds_every_token(data, model):
    page = json.loads(data("preview", "-m", model, "--rows", 2, "--skip", 1, "--json")[1])["preview"]
    assert [row["row"] for row in page["rows"]] == [2, 3]
    assert sum(token["kind"] == "loss" for token in page["rows"][0]["tokens"]) == page["rows"][0]["n_loss"]


def test_preview_without_the_model_shows_turns_and_how_to_get_it(data):
    code, out, err = data("preview", "--rows", 1)
    assert code == 0
    assert out.startswith("row 1\n  user: Who are you?\n  assistant: I'm Pip")
    assert "backprop models download Qwen/Qwen2.5-7B-Instruct" in err


def test_preview_of_every_token_with_loss_when_all_turns_are_learned(data, model):
    out = data("preview", "-m", model, "--rows", 1, "--no-train-on-responses")[1]
    assert "63 tokens, 63 carry loss" in out


def test_preview_says_why_a_row_cannot_be_used(data):
    put({"messages": [{"role": "user", "content": "Hm?"}]})
    assert data("preview")[1].startswith("row 1: no assistant turn")


def test_the_report_gives_a_verdict_with_reasons(data, model):
    put(*[said(f"What is {n}?", "It is a number.") for n in range(40)], said("What is 3?", "It is a number."))
    code, out, _ = data("report", "-m", model)
    assert code == 0
    assert "Repeats  1 equal rows" in out
    assert "Verdict  warn" in out
    assert "  warn: 100% of the rows have the same answer." in out


def test_a_leak_into_the_held_out_file_fails_a_strict_report(data, model, tmp_path):
    Path("held.jsonl").write_bytes(Path("rows.jsonl").read_bytes())
    assert data("report", "-m", model, "--heldout", "held.jsonl")[0] == 0
    code, out, _ = data("report", "-m", model, "--heldout", "held.jsonl", "--strict", "--json")
    review = json.loads(out)["report"]["review"]
    assert code == 1
    assert (review["verdict"]["level"], review["leaks"]["same_question"]) == ("fail", 5)


def test_the_report_is_written_as_a_page_too(data, model):
    code, _, err = data("report", "-m", model, "--html", "report.html")
    assert code == 0
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert "report.html" in err


def test_each_operation_makes_the_next_version_and_leaves_the_file_alone(data):
    before = Path("rows.jsonl").read_bytes()
    made = [
        data("convert", "--to", "openai")[1],
        data("sample", "--rows", 2)[1],
        data("order")[1],
        data("filter", "--min-chars", 1)[1],
        data("dedupe", "--exact")[1],
    ]
    assert made == [f"rows.v{number}.jsonl\n" for number in range(2, 7)]
    assert list(lines("rows.v2.jsonl")[0]) == ["messages"]
    assert [len(lines(f"rows.v{number}.jsonl")) for number in range(2, 7)] == [5, 2, 5, 5, 5]
    assert Path("rows.jsonl").read_bytes() == before


def test_split_makes_two_versions_that_share_no_row(data):
    code, out, err = data("split", "--share", 0.4, "--seed", 3)
    train, heldout = (lines(path) for path in out.split())
    assert code == 0
    assert (len(train), len(heldout)) == (3, 2)
    assert [row for row in train if row in heldout] == []
    assert err == "3 rows in rows.v2.jsonl\n2 rows in rows.v3.jsonl\n"


def test_a_version_as_json_tells_its_recipe(data):
    [version] = json.loads(data("filter", "--matching", "whistle", "--json")[1])["versions"]
    assert (version["number"], version["recipe"]["operation"]) == (2, "filter")
    assert version["recipe"]["parameters"]["matching"] == "whistle"
    assert version["recipe"]["source"] == "rows.jsonl"


def test_convert_to_csv_ends_in_csv(data):
    assert data("convert", "--to", "csv")[1] == "rows.v2.csv\n"
    assert Path("rows.v2.csv").read_text().startswith("prompt,completion")


def test_a_named_file_is_made_with_its_folder(data):
    assert data("sample", "--rows", 1, "-o", "new/one.jsonl")[1] == "new/one.jsonl\n"
    assert len(lines("new/one.jsonl")) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sample", "--rows", "1", "-o", "rows.jsonl"], "never overwritten"),
        (["split", "--heldout", "rows.jsonl"], "never overwritten"),
        (["split", "-o", "same.jsonl", "--heldout", "same.jsonl"], "named twice"),
        (["split", "--share", "1.5"], "share is 1.5"),
        (["filter", "--matching", "("], "regular expression"),
        (["filter", "--min-chars", "100000"], "No row"),
        (["dedupe", "--threshold", "3"], "threshold is 3"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(data, words, named):
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    code, out, err = data(words[0], *words[1:])
    assert (code, out) == (1, "")
    assert named in err
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_a_file_that_is_not_there_is_the_users_mistake(data):
    code, _, err = data("dedupe", file="missing.jsonl")
    assert code == 1
    assert err.startswith("[INPUT_DATASET_NOT_FOUND]")


def test_dedupe_without_the_extra_looks_for_equal_rows_and_says_so(data, monkeypatch):
    from backprop_core.datasets import duplicates

    monkeypatch.setattr(duplicates, "can_find_near", lambda: False)
    put(said("a b c", "d e f"), said("a b c", "d e f"))
    code, out, err = data("dedupe")
    assert (code, len(lines(out.strip()))) == (0, 1)
    assert "backpropagate[validation]" in err

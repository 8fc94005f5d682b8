"""The Dataset page in words: what a row, its tokens, the figures, a version and the command look like."""

from __future__ import annotations

from pathlib import Path

from backprop_app.views import dataset as views
from backprop_app.views import dataset_report as reports
from backprop_app.views.dataset import ChatView, PieceView
from backprop_core.datasets.preview import ShownRow, ShownToken
from backprop_core.datasets.report import inspect_structure
from backprop_core.datasets.review import DataReview, Histogram, histogram, review
from backprop_core.datasets.rows import Message, RowCode, RowProblem, ToolCall
from backprop_core.datasets.shown_turns import Piece, ShownTurn
from backprop_core.datasets.versions import Recipe, Version
from backprop_core.services.datasets import DataChoices, FileEntry, FileFigures
from tests.support.data_models import chat_lines
from tests.unit.datasets.families import family

CHOICES = DataChoices("smollm2-135m", 2048)
NBSP = "\u00a0"


def row(number: int = 1, *, loss: int = 2, context: int = 2, cut: int = 0, **facts: object) -> ShownRow:
    tokens = [ShownToken("a", "loss")] * loss + [ShownToken("b", "context")] * context
    tokens += [ShownToken("c", "cut")] * cut
    messages = (
        Message("system", "Be brief."),
        Message("user", "Where\nis  it?"),
        Message("assistant", "Here."),
    )
    return ShownRow(number, messages, tokens=tuple(tokens), n_loss=loss, n_cut=cut, **facts)  # type: ignore[arg-type]


def report_on(tmp_path: Path, text: str, heldout: str = "") -> DataReview:
    path, other = tmp_path / "rows.jsonl", tmp_path / "heldout.jsonl"
    path.write_text(text)
    other.write_text(heldout)
    return review(path, family("smollm2-135m"), 2048, heldout=other if heldout else None)


def test_a_row_shows_its_first_question_its_tokens_and_what_is_learned():
    [item] = views.row_items([row(4127)], {})
    assert (item.number, item.words, item.tokens, item.learns) == ("4,127", "Where is it?", "4", f"50{NBSP}%")


def test_a_row_is_marked_unusable_before_cut_before_repeated():
    problem = RowProblem(3, RowCode.NO_ASSISTANT, "no answer")
    items = views.row_items([row(1, cut=1), row(2), row(3, problem=problem), row(5)], {1: 9, 2: 988})
    assert [item.flag for item in items] == ["cut", "like 988", "unusable", ""]


def test_a_row_without_tokens_shows_dashes():
    [item] = views.row_items([ShownRow(1, text="the hill")], {})
    assert (item.words, item.tokens, item.learns) == ("the hill", "–", "–")


def test_the_microscope_counts_and_says_that_the_stop_token_is_learnt():
    stop = ShownTurn("assistant", (Piece("<|im_end|>", "loss", is_control=True),), 1, 1)
    view = views.mask_view(row(7, cut=3), [stop], "smollm2-135m", has_tokens=True, learns_all=False)
    assert (view.title, view.learns, view.ignored, view.cut) == ("row 7", f"2 tokens, 29{NBSP}%", "2", "3")
    assert view.note.startswith("The stop token is learnt. These are the labels the trainer will use")


def test_the_microscope_says_which_model_is_missing():
    view = views.mask_view(ShownRow(1), [], "qwen2.5-7b", has_tokens=False, learns_all=False)
    assert view.note.startswith("Tokens and mask need Qwen2.5-7B-Instruct, which must be fetched first.")


def test_pieces_look_as_their_kind_and_line_ends_can_be_seen():
    pieces = (
        Piece("<|im_start|>", "context", is_control=True),
        Piece("user\nOne\nTwo", "context", is_control=False),
        Piece("Yes\nno", "loss", is_control=False),
        Piece("<|im_end|>", "loss", is_control=True),
        Piece("x", "cut", is_control=False),
    )
    [turn] = views.turn_views([ShownTurn("user", pieces, 1234, 3)])
    assert turn.count == "1,234"
    assert turn.pieces == [
        PieceView("<|im_start|>", "ctl"),
        PieceView("user↵ One↵\nTwo", ""),
        PieceView("Yes↵\nno", "y"),
        PieceView("<|im_end|>", "ctl y"),
        PieceView("x", "c"),
    ]


def test_a_huge_row_is_drawn_in_part_and_the_rest_is_named():
    turn = ShownTurn("text", (Piece("x" * 50_000, "loss", is_control=False),), 50_000, 50_000)
    [view] = views.turn_views([turn])
    assert len(view.pieces[0].text) == 12_000
    tokens = (ShownToken("x" * 50_000, "loss"),)
    mask = views.mask_view(ShownRow(1, tokens=tokens, n_loss=1), [], "m", has_tokens=True, learns_all=False)
    assert mask.rest == "38,000 more characters of this row are not drawn."


def test_a_chat_names_calls_and_turns_that_are_not_trained_on():
    call = ToolCall("find", {})
    shown = views.chat_views(ShownRow(1, (Message("assistant", "", tool_calls=(call,), trains=False),)))
    assert shown == [ChatView("assistant", "", "calls find, not trained on")]


def test_a_file_of_the_list_leads_to_its_page():
    item = views.file_item(FileEntry(Path("/data/my talks.jsonl"), "data folder", 91_000, "sharegpt", 324))
    assert (item.href, item.layout, item.rows) == (
        "/dataset?file=%2Fdata%2Fmy%20talks.jsonl",
        "ShareGPT",
        "324",
    )
    assert (item.size, item.place) == (f"91{NBSP}kB", "data")


def test_a_file_that_nobody_counted_has_no_number():
    item = views.file_item(FileEntry(Path("/d/x.jsonl"), "yours", 5, problem="It is empty."))
    assert (item.rows, item.layout, item.place, item.problem) == ("–", "", "Yours", "It is empty.")


def test_the_command_is_quoted_and_names_only_what_differs():
    assert views.command("/d/my talks.jsonl", "m", "2048") == "report '/d/my talks.jsonl' -m m"
    assert views.command("/d/a.jsonl", "m", "512") == "report /d/a.jsonl -m m --max-seq-length 512"
    assert views.command("", "m", "512") == "report FILE"


def test_the_lead_says_how_certain_the_format_is(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(chat_lines(3))
    assert views.lead(inspect_structure(path)) == "OpenAI messages, certain on 3 of 3 rows."
    path.write_text(chat_lines(3) + '{"prompt": "a", "completion": "b"}\n')
    assert views.lead(inspect_structure(path)).startswith("3 of 4 rows are OpenAI messages")


def test_figures_without_the_model_count_rows_and_name_what_is_missing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(chat_lines(3) + "{}\n")
    view = reports.figures_view(FileFigures(inspect_structure(path)), None, CHOICES)
    assert (view.rows, view.rows_note, view.tokens) == ("4", "1 unusable", "–")
    assert view.tokens_note == "needs SmolLM2-135M-Instruct"


def test_figures_of_a_report_are_exact_and_hold_duplicates_and_leaks(tmp_path):
    found = report_on(tmp_path, chat_lines(40) + chat_lines(1), heldout=chat_lines(1))
    view = reports.figures_view(FileFigures(found.summary, found.histogram), found, CHOICES)
    assert (view.rows, view.tokens_note, view.loss_note) == (
        "41",
        "SmolLM2-135M-Instruct",
        "assistant turns only",
    )
    assert (view.repeats_note.startswith("1 exact"), view.leaks, view.leaks_note) == (
        True,
        "2",
        "against 1 rows",
    )


def test_a_repeated_row_names_the_row_it_repeats(tmp_path):
    found = report_on(tmp_path, chat_lines(1) + chat_lines(1, "Other") + chat_lines(1))
    assert reports.repeats_of(found)[3] == 1
    assert {1, 3} <= set(reports.repeated_numbers(found))


def test_the_verdict_has_a_word_and_each_reason_its_tone(tmp_path):
    found = report_on(tmp_path, chat_lines(5))
    assert (reports.verdict_view(found).word, reports.verdict_view(found).tone) == (
        "Look at this first",
        "warn",
    )
    assert [reason.tone for reason in reports.reason_views(found)][:1] == ["warn"]


def test_bars_are_as_high_as_their_counts_and_those_beyond_the_cut_differ():
    bars = reports.bar_views(Histogram((0, 100, 200, 300), (10, 5, 0)), 200)
    assert [bar.height for bar in bars] == ["78.0", "39.0", "0.0"]
    assert [bar.css for bar in bars] == ["", "", "long"]
    assert bars[0].title == "0 to 99 tokens: 10 rows"


def test_the_cut_line_stands_where_rows_are_cut_or_not_at_all(tmp_path):
    summary = report_on(tmp_path, chat_lines(5)).summary
    lengths = histogram([100, 390])
    assert lengths.edges[-1] == 400
    assert reports.length_view(lengths, summary, 300).cut_x == "75.00%"
    assert reports.length_view(lengths, summary, 300).cut_flips
    assert reports.length_view(lengths, summary, 2048).cut_x == ""


def test_versions_are_newest_first_with_what_made_them():
    recipe = Recipe("sample", {"rows": 3, "seed": 0}, "a.jsonl", "", 3, "", "2026-03-01T18:42:00+01:00")
    source, newer = Path("/d/a.jsonl"), Path("/s/a.v2.jsonl")
    versions = (Version(source, 1, None), Version(newer, 2, recipe))
    newest, oldest = reports.version_items(versions, newer)
    assert (newest.recipe, newest.rows, newest.made) == (
        "sample of a.jsonl: rows 3, seed 0",
        "3 rows",
        "01 Mar 18:42",
    )
    assert (newest.is_open, oldest.is_open, oldest.recipe) == (True, False, "the source")
    assert reports.version_text(versions, newer) == "Version 2 of 2, source untouched."
    assert reports.version_text(versions[:1], source) == ""

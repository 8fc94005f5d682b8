"""What the proof card and the card "Did it help?" say."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_app.views import export as export_views
from backprop_app.views.evaluations import eval_view
from backprop_app.views.proofs import proof_mark, proof_view
from backprop_core.config.evaluations import Evaluation, Interval, Measure
from backprop_core.config.exports import ExportSpec
from backprop_core.config.proofs import Proof, ProofCheck
from backprop_core.services.exports import FinishedExport

SPEC = ExportSpec(
    format="gguf", source="/a", base_model="b", output="/m.gguf", name="m", quantization="q4_k_m"
)
MADE = FinishedExport("7f3a91c2", Path("/m.gguf"), SPEC, 105_000_000, 3.0, "", is_registered=False)


def proof(verdict: str, status: str, cause: str = "") -> Proof:
    return Proof.model_validate(
        {
            "verdict": verdict,
            "checks": (
                ProofCheck(name="template", status=status, measured="3 of 3", limit="all", cause=cause),
            ),
            "file": "m.gguf",
            "quantization": "q4_k_m",
            "size_bytes": 105_000_000,
            "sha256": "b81f60aa3c02" + "0" * 48 + "77d9",
            "engine": "xllamacpp 1",
            "rows": "8 held-out rows of d.jsonl",
            "seconds": 40,
            "created_at": "",
        }
    )


@pytest.mark.parametrize(
    ("verdict", "status", "tone", "word"),
    [
        ("proven", "pass", "ok", "Proven"),
        ("proven_with_note", "note", "warn", "Proven, with a note"),
        ("not_proven", "fail", "danger", "Not proven"),
        ("not_proven", "skipped", "", "Not proven"),
    ],
)
def test_each_verdict_has_its_tone_and_word(verdict, status, tone, word):
    found = proof(verdict, status)
    view = proof_view(MADE, found)
    assert (view.tone, view.word) == (tone, word)
    assert proof_mark(found) == (tone, word)
    assert view.checks[0].tone == tone


def test_a_red_card_names_the_cause_and_the_figures_stand_beside_a_pass():
    red = proof_view(MADE, proof("not_proven", "fail", "The chat template differs at character 7."))
    assert red.cause == red.checks[0].text == "The chat template differs at character 7."
    green = proof_view(MADE, proof("proven", "pass"))
    assert (green.cause, green.checks[0].text) == ("", "3 of 3; asked for: all")
    assert green.digest == "b81f60aa3c02 … 77d9"
    assert green.href == "/api/exports/7f3a91c2/proof"


def test_an_export_that_nobody_proved_says_so():
    view = proof_view(MADE, None)
    assert (view.tone, view.word, view.href, view.checks) == ("", "Not proven", "", [])
    assert proof_mark(None) == ("", "not proven")


def test_figures_intervals_and_verdict_of_an_evaluation():
    gain = Interval(value=0.5, low=-0.25, high=1.25)
    view = eval_view(
        Evaluation(
            run_id="r",
            before="base",
            after="facts",
            data="held.jsonl",
            rows=12,
            tokens=90,
            before_loss=2.0,
            after_loss=1.5,
            before_perplexity=7.389,
            after_perplexity=44_816.8,
            loss_gain=gain,
            own_gain=gain,
            measures=(Measure(name="exact", rows=12, before=0, after=0.25, gain=gain),),
            better=8,
            worse=4,
            verdict="none",
            cause="The difference may be an accident of these rows.",
            method="m",
            seconds=2.0,
            created_at="",
        )
    )
    assert (view.tone, view.word, view.after) == ("warn", "No evidence of gain", "tuned")
    assert [(row.name, row.before, row.after, row.gain) for row in view.measures] == [
        ("Loss", "2.000", "1.500", "+0.500 (\u22120.250 to 1.250)"),
        ("Perplexity", "7.39", "44.8\u00a0k", ""),
        ("More than for other answers", "", "", "+0.500 (\u22120.250 to 1.250)"),
        ("Exact match", "0%", "25%", "+50\u00a0% (\u221225 to 125)"),
    ]
    assert view.moved == "8 rows better, 4 worse"


def test_an_export_without_proof_is_in_both_twins():
    words = ("7f3a91c2", "gguf", "q8_0", "", "")
    assert export_views.command_twin(*words, wants_proof=False).endswith("--quantization q8_0 --no-proof")
    assert (
        export_views.python_twin(*words, wants_proof=False) == 'export_gguf("7f3a91c2", "q8_0", proof=False)'
    )
    assert "--no-proof" not in export_views.command_twin(*words)

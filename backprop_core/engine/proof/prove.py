"""The proof of one export from start to end: files, tokens, prompts, answers, endings, verdict."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, get_args

from backprop_core.config.proofs import CheckName, Proof, ProofCheck, Verdict, write_proof
from backprop_core.datasets.rows import Message, RowFault
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.proof import probes
from backprop_core.engine.proof.dialogue import check_template, check_tokens
from backprop_core.engine.proof.endings import check_endings
from backprop_core.engine.proof.engine_process import (
    Engine,
    EngineFailed,
    EngineSetup,
    engine_name,
    is_installed,
)
from backprop_core.engine.proof.structure import check_structure
from backprop_core.engine.proof.subject import Subject
from backprop_core.engine.proof.vocabulary import Vocabulary, compare_vocabulary
from backprop_core.errors import BackpropagateError, DependencyError

NAMES: Final[tuple[CheckName, ...]] = get_args(CheckName)
INSTALL: Final = "pip install 'backpropagate[export]'"
_CONTEXT_TOKENS: Final = 2048

OnCheck = Callable[[ProofCheck], None]


def _nothing(*_: object) -> None:
    """Do nothing."""


def prove(
    subject: Subject,
    *,
    on_check: OnCheck = _nothing,
    check_wish: Callable[[], None] = _nothing,
    setup: EngineSetup | None = None,
) -> Proof:
    """Prove an export and put the result beside it.

    Args:
        on_check: receives each check when it is done.
        check_wish: called often; what it raises ends the proof, and nothing is written.
        setup: how the engine is run.

    """
    began = time.monotonic()
    structure = check_structure(subject)
    work = _Work(subject, on_check, check_wish, setup or EngineSetup())
    work.add(structure.check)
    if not structure.is_sound:
        work.skip_rest("The file is not sound, so nothing else was looked at.")
    else:
        _look_inside(work)
    checks = tuple(work.checks)
    proof = Proof(
        verdict=_verdict(checks),
        code=_code(checks, work.lacks_engine),
        checks=checks,
        file=subject.path.name,
        quantization=subject.quantization,
        size_bytes=structure.size_bytes,
        sha256=structure.sha256,
        engine=engine_name(),
        rows=work.origin,
        seconds=round(time.monotonic() - began, 1),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_proof(subject.path, proof)
    return proof


@dataclass
class _Work:
    """A proof in progress."""

    subject: Subject
    on_check: OnCheck
    check_wish: Callable[[], None]
    setup: EngineSetup
    checks: list[ProofCheck] = field(default_factory=list)
    origin: str = ""
    lacks_engine: bool = False

    def add(self, check: ProofCheck) -> None:
        self.checks.append(check)
        self.on_check(check)

    def skip_rest(self, cause: str) -> None:
        for name in NAMES[len(self.checks) :]:
            self.add(ProofCheck(name=name, status="skipped", cause=cause))


def _look_inside(work: _Work) -> None:
    try:
        vocabulary = compare_vocabulary(work.subject)
        _run_engine(work, vocabulary)
    except BackpropagateError as error:
        # What the file is compared with cannot be read here; that is no fault of the file.
        work.skip_rest(error.message)


def _run_engine(work: _Work, vocabulary: Vocabulary) -> None:
    if not is_installed():
        work.lacks_engine = True
        _add_without_engine(work, vocabulary, f"The engine is not installed: {INSTALL}")
        return
    try:
        with Engine(
            work.subject.file, work.subject.lora, _CONTEXT_TOKENS, work.setup, work.check_wish
        ) as engine:
            _ask(work, vocabulary, engine)
    except EngineFailed as failure:
        # The first question that stays open carries the failure, the others only wait for it; what the file
        # itself has told is said before.
        name = NAMES[len(work.checks)]
        cause = f"{_known_causes(vocabulary).get(name, '')} {failure}".strip()
        work.add(ProofCheck(name=name, status="fail", limit="the engine answers", cause=cause))
        _add_without_engine(work, vocabulary, "The engine failed before this was looked at.")


def _add_without_engine(work: _Work, vocabulary: Vocabulary, reason: str) -> None:
    """Add the checks that are left; those whose files differ already have failed without an engine."""
    known = _known_causes(vocabulary)
    for name in NAMES[len(work.checks) :]:
        cause = known.get(name, "")
        work.add(ProofCheck(name=name, status="fail" if cause else "skipped", cause=cause or reason))


def _known_causes(vocabulary: Vocabulary) -> dict[CheckName, str]:
    return {
        "tokenizer": vocabulary.tokenizer_cause,
        "template": vocabulary.template_cause,
        "end_of_turn": vocabulary.end_cause,
    }


def _ask(work: _Work, vocabulary: Vocabulary, engine: Engine) -> None:
    from backprop_core.engine.proof.likeness import judge, measure_likeness, trained_certainty
    from backprop_core.engine.proof.rows import choose_rows

    tokenizer = ChatTokenizer.load(vocabulary.folder, template=vocabulary.template)
    chosen = choose_rows(work.subject, tokenizer)
    work.origin = chosen.origin
    texts = [tokenizer.decode(row.ids) for row in chosen.rows]
    work.add(check_tokens(engine, tokenizer, vocabulary, texts))
    work.add(check_template(engine, tokenizer, vocabulary))
    with _missing_skips(work):
        certainty = trained_certainty(work.subject.model, work.subject.adapter, chosen.rows, work.check_wish)
        plain = tokenizer.encode_text("!")
        likeness = measure_likeness(engine, chosen.rows, certainty, plain[0] if len(plain) == 1 else None)
        work.add(judge(likeness, work.subject.quantization, chosen.origin, is_exact=certainty.is_exact))
    work.add(check_endings(engine, tokenizer, vocabulary, _prompts(tokenizer)))


@contextlib.contextmanager
def _missing_skips(work: _Work) -> Iterator[None]:
    """Skip the comparison of answers when the trained model cannot be loaded here."""
    try:
        yield
    except DependencyError as error:
        work.add(ProofCheck(name="answers", status="skipped", cause=error.message))


def _prompts(tokenizer: ChatTokenizer) -> list[str]:
    prompts = []
    for question in probes.QUESTIONS:
        try:
            prompts.append(tokenizer.render_prompt((Message("user", question),)))
        except RowFault:
            prompts.append(question)
    return prompts


def _verdict(checks: tuple[ProofCheck, ...]) -> Verdict:
    statuses = {check.status for check in checks}
    if statuses & {"fail", "skipped"}:
        return "not_proven"
    return "proven_with_note" if "note" in statuses else "proven"


def _code(checks: tuple[ProofCheck, ...], lacks_engine: bool) -> str:
    if any(check.status == "fail" for check in checks):
        return "RUNTIME_EXPORT_PROOF_FAILED"
    return "DEP_EXTRA_MISSING" if lacks_engine else ""

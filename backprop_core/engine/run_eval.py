"""The recipe of an evaluation job: base and tuned model on the same held-out rows, one after the other."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from backprop_core import files
from backprop_core.config.evaluations import RESULT_FILE, Contender, EvalSpec, Evaluation
from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.rows import RowFault
from backprop_core.datasets.texts import question_text
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.comparison.bootstrap import METHOD, difference_interval, ratio_interval
from backprop_core.engine.comparison.contender import Prompt, loaded, summed_losses
from backprop_core.engine.comparison.replies import Answered, flips, measure
from backprop_core.engine.comparison.rows import HeldOut, find_leaks, held_out_rows
from backprop_core.engine.comparison.verdict import judge
from backprop_core.engine.context import PhaseReporter, RunContext
from backprop_core.engine.devices import Device, select_device
from backprop_core.engine.outcome import Outcome
from backprop_core.hub.download import resolve_model
from backprop_core.planning.records import Quantization
from backprop_core.runs.store import RunFolder

# Longer answers are seldom equal word for word; their loss tells more.
_SHORT_ANSWER_TOKENS: Final = 48
_REPLIES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model made of the rows: summed losses, and replies where they were asked for."""

    own: list[float]
    other: list[float]
    replies: list[str]


@dataclass(frozen=True, slots=True)
class Questions:
    """Everything that both models are asked.

    Attributes:
        prompts: of rows with a short answer, by place in `rows`.
    """

    rows: list[HeldOut]
    prompts: dict[int, Prompt]
    tokenizer: ChatTokenizer

    @property
    def has_others(self) -> bool:
        """Whether every row was encoded with another row's answer, too."""
        return all(row.other is not None for row in self.rows)

    @property
    def work(self) -> int:
        """Forward passes and replies of one model."""
        return len(self.rows) * (2 if self.has_others else 1) + len(self.prompts)


def run_eval(context: RunContext) -> Outcome:
    """Compare as the spec of the job says and put the result into its folder.

    Raises:
        BackpropagateError: a model, the data or a row cannot be used.
        AttemptEnded: the user or the system ended the job.
    """
    began = time.monotonic()
    spec = context.folder.eval_spec()
    pattern = re.compile(spec.regex) if spec.regex is not None else None
    training = RunFolder(Path(spec.run_folder)).spec()
    context.phase("tokenizing", Path(spec.data or training.dataset).name)
    folders = [_model_folder(context, part) for part in (spec.before, spec.after)]
    questions = _questions(spec, training, folders[1])
    leaks = find_leaks(spec, training)
    device = select_device(training.device)
    reporter = context.phase("evaluating", f"{len(questions.rows)} rows")
    done = _Progress(reporter, 2 * questions.work)
    before, after = (
        _scores(questions, folder, part, device, _quantization(training, device), done)
        for part, folder in zip((spec.before, spec.after), folders, strict=True)
    )
    result = _result(spec, training, questions, before, after, pattern)
    verdict, cause = judge(result.rows, result.loss_gain, result.own_gain, result.measures, leaks)
    result = result.model_copy(
        update={
            "verdict": verdict,
            "cause": cause,
            "leaks": leaks,
            "seconds": round(time.monotonic() - began, 1),
            "created_at": context.clock.now().isoformat(timespec="seconds"),
        }
    )
    files.write_json(context.folder.path / RESULT_FILE, result.model_dump(mode="json"))
    return Outcome("completed", RESULT_FILE)


class _Progress:
    """Counts the rows of both models; raises when the job shall end."""

    def __init__(self, reporter: PhaseReporter, total: int) -> None:
        self._reporter, self._total, self._done = reporter, total, 0

    def step(self) -> None:
        self._reporter.progress(self._done, self._total)
        self._done += 1


def _model_folder(context: RunContext, contender: Contender) -> Path:
    path = Path(contender.model)
    if path.is_dir():
        return path
    return resolve_model(contender.model, cache_dir=context.cache_dir).path


def _questions(spec: EvalSpec, training: TrainSpec, model: Path) -> Questions:
    tokenizer = ChatTokenizer.load(model)
    rows = held_out_rows(spec, training, tokenizer)
    prompts: dict[int, Prompt] = {}
    for at, row in enumerate(rows):
        if len(prompts) < _REPLIES_MAX and (prompt := _prompt(row, tokenizer, training)) is not None:
            prompts[at] = prompt
    return Questions(rows, prompts, tokenizer)


def _prompt(row: HeldOut, tokenizer: ChatTokenizer, training: TrainSpec) -> Prompt | None:
    """Return the prompt of a row with a short last answer."""
    messages = row.conversation.messages
    if row.other is None or not messages:
        return None
    answer = len(tokenizer.encode_text(messages[-1].content))
    if answer > _SHORT_ANSWER_TOKENS:
        return None
    try:
        text = tokenizer.render_prompt(messages[:-1], row.conversation.tools)
    except RowFault:
        return None
    ids = tokenizer.encode_text(text)
    return Prompt(tuple(ids), answer) if len(ids) <= training.max_seq_length else None


def _scores(
    questions: Questions,
    model: Path,
    contender: Contender,
    device: Device,
    quantization: Quantization,
    done: _Progress,
) -> Scores:
    adapter = Path(contender.adapter) if contender.adapter else None
    with loaded(model, adapter, device, quantization, done.step) as asked:
        own = summed_losses(asked, [row.own for row in questions.rows])
        others = [row.other for row in questions.rows if row.other is not None]
        other = summed_losses(asked, others) if questions.has_others else []
        replies = [asked.reply_to(prompt, questions.tokenizer) for prompt in questions.prompts.values()]
    return Scores(own, other, replies)


def _quantization(training: TrainSpec, device: Device) -> Quantization:
    """Return how the run held its base, where that is possible; a processor holds it whole."""
    if not device.is_cuda or training.mode == "full":
        return "none"
    return "4bit" if training.quantization == "auto" else training.quantization


def _result(
    spec: EvalSpec,
    training: TrainSpec,
    questions: Questions,
    before: Scores,
    after: Scores,
    pattern: re.Pattern[str] | None,
) -> Evaluation:
    """Return the figures; verdict, leaks and times are put in afterwards."""
    tokens = np.array([row.own.supervised for row in questions.rows], dtype=float)
    gains = np.array(before.own) - np.array(after.own)
    own_gain = None
    if questions.has_others:
        other_tokens = np.array([row.other.supervised for row in questions.rows if row.other], dtype=float)
        other_gains = np.array(before.other) - np.array(after.other)
        own_gain = difference_interval(gains, tokens, other_gains, other_tokens)
    answered = _answered(questions, before.replies, after.replies)
    before_loss, after_loss = sum(before.own) / tokens.sum(), sum(after.own) / tokens.sum()
    return Evaluation(
        run_id=spec.run_id,
        before=spec.before.label,
        after=spec.after.label,
        data=Path(spec.data or training.dataset).name,
        rows=len(questions.rows),
        tokens=int(tokens.sum()),
        before_loss=before_loss,
        after_loss=after_loss,
        before_perplexity=_perplexity(before_loss),
        after_perplexity=_perplexity(after_loss),
        loss_gain=ratio_interval(gains, tokens),
        own_gain=own_gain,
        measures=measure(answered, pattern),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        flips=flips(answered, pattern),
        verdict="none",
        cause="",
        method=METHOD,
        seconds=0.0,
        created_at="",
    )


def _answered(questions: Questions, before: Sequence[str], after: Sequence[str]) -> list[Answered]:
    found = []
    for at, first, second in zip(questions.prompts, before, after, strict=True):
        conversation = questions.rows[at].conversation
        answer = conversation.messages[-1].content
        found.append(Answered(conversation.row, question_text(conversation), answer, first, second))
    return found


def _perplexity(loss: float) -> float:
    """Return the exponential of a loss; that of a hopeless one is cut where floats end."""
    return math.exp(min(loss, 700.0))

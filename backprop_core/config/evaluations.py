"""What an evaluation job compares, and its result. Frozen; holds no judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backprop_core import files

RESULT_FILE: Final = "evaluation.json"
SCHEMA_VERSION: Final = 1
ROWS: Final = 128

Gain = Literal["gain", "none", "worse"]
MeasureName = Literal["exact", "contains", "regex"]


class Contender(BaseModel):
    """A model that answers the held-out rows.

    Attributes:
        label: what people call it: `base`, or the name of a run.
        model: name or folder of the base, or the folder of a whole model.
        adapter: folder of the adapter that is put on it, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    model: str
    adapter: str | None = None


class EvalSpec(BaseModel):
    """One comparison on held-out rows.

    Attributes:
        run_folder: the run that is judged; its data, split and length decide over the rows.
        before: what it is compared with.
        after: the model of the run.
        data: a held-out file; None for the rows that the run held out of its own data.
        regex: what to look for in answers and replies, if anything.
        rows: at most so many are compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    run_folder: str
    before: Contender
    after: Contender
    data: str | None = None
    regex: str | None = None
    rows: int = Field(default=ROWS, ge=1, le=2000)


class Interval(BaseModel):
    """A difference and its 95 % interval; above zero is better."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    value: float
    low: float
    high: float

    @property
    def is_gain(self) -> bool:
        """Whether even the low end is above zero."""
        return self.low > 0

    @property
    def is_loss(self) -> bool:
        """Whether even the high end is below zero."""
        return self.high < 0


class Measure(BaseModel):
    """Share of replies that are right, by one way of comparing them with the answer of the row."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: MeasureName
    rows: int
    before: float
    after: float
    gain: Interval


class Flip(BaseModel):
    """A row that one of both answers right and the other wrong."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    row: int
    is_fixed: bool
    question: str
    answer: str
    before: str
    after: str


class Leaks(BaseModel):
    """Held-out rows that the run was trained on, and the first pair of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: int
    training_row: int
    held_out_row: int


class Evaluation(BaseModel):
    """What was found.

    Attributes:
        before, after: labels of what was compared.
        data: name of the file that the rows are from.
        before_loss, after_loss: mean loss by answer token, in nats.
        loss_gain: how much lower the loss became.
        own_gain: how much more it fell for the answers that belong to the rows than for answers of other
            rows; None where rows have no turns.
        better, worse: rows whose loss fell, and rose.
        leaks: rows that also stand in the training data, if any.
        cause: why the verdict is what it is; one or two sentences.
        method: how the intervals were made.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    run_id: str
    before: str
    after: str
    data: str
    rows: int
    tokens: int
    before_loss: float
    after_loss: float
    before_perplexity: float
    after_perplexity: float
    loss_gain: Interval
    own_gain: Interval | None = None
    measures: tuple[Measure, ...] = ()
    better: int
    worse: int
    flips: tuple[Flip, ...] = ()
    leaks: Leaks | None = None
    verdict: Gain
    cause: str
    method: str
    seconds: float
    created_at: str


def read_evaluation(job_folder: Path) -> Evaluation | None:
    """Return the result of an evaluation job; None when it has none that can be read."""
    try:
        return Evaluation.model_validate(files.read_json(job_folder / RESULT_FILE))
    except (OSError, ValueError, ValidationError):
        return None

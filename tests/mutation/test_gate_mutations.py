"""Each protection of the gate is held by a test: the short list with every run, the whole one in the soak."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation.gate import MUTATIONS, Mutation, copied_source, is_caught

QUICK = [mutation for mutation in MUTATIONS if mutation.is_quick]
OTHERS = [mutation for mutation in MUTATIONS if not mutation.is_quick]


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    with copied_source() as folder:
        yield folder


@pytest.mark.parametrize("mutation", QUICK, ids=lambda mutation: mutation.name)
def test_a_gate_without_it_is_caught(copy: Path, mutation: Mutation) -> None:
    assert is_caught(mutation, copy)


@pytest.mark.soak
@pytest.mark.parametrize("mutation", OTHERS, ids=lambda mutation: mutation.name)
def test_a_gate_without_a_finer_protection_is_caught(copy: Path, mutation: Mutation) -> None:
    assert is_caught(mutation, copy)

from __future__ import annotations

import threading

from backprop_core.telemetry.bounded import Bounded


def _wait_until_answered(bounded: Bounded[int]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if not bounded.is_hanging:
            return
        waiting.wait(0.005)


def test_result_of_a_quick_call():
    bounded = Bounded(lambda: 7, timeout_s=5, name="t")
    assert bounded() == 7
    bounded.close()


def test_the_function_runs_in_one_thread_that_is_not_the_callers():
    threads = []
    bounded = Bounded(lambda: threads.append(threading.get_ident()) or 1, timeout_s=5, name="t")
    bounded()
    bounded()
    bounded.close()
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_a_hanging_call_gives_none_and_is_not_called_again():
    gate, calls = threading.Event(), []
    bounded = Bounded(lambda: (calls.append(1), gate.wait(30), 1)[2], timeout_s=0.02, name="t")
    assert bounded() is None
    assert bounded.is_hanging
    assert bounded() is None
    assert len(calls) == 1
    gate.set()
    bounded.close()


def test_a_late_result_is_dropped_and_the_next_call_is_fresh():
    gate, answers = threading.Event(), iter([1, 2])

    def answer() -> int:
        gate.wait(30)
        return next(answers)

    bounded = Bounded(answer, timeout_s=0.02, name="t")
    assert bounded() is None
    gate.set()
    _wait_until_answered(bounded)
    assert bounded() == 2
    bounded.close()


def test_a_closed_call_can_be_made_again_while_its_old_thread_hangs():
    gate = threading.Event()
    first = [True]

    def answer() -> int:
        if first:
            first.clear()
            gate.wait(30)
        return 5

    bounded = Bounded(answer, timeout_s=0.2, name="t")
    assert bounded() is None
    bounded.close()
    assert bounded() == 5
    gate.set()
    bounded.close()

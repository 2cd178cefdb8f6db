"""Work on many images in threads: in order, a few at a time, in as many threads as there are usable cores."""

from __future__ import annotations

import threading

import pytest

from biotune.datasets import parallel
from biotune.datasets.parallel import in_parallel


def test_rows_come_in_order_with_results_or_errors() -> None:
    def work(row: int) -> int:
        if row == 3:
            raise ValueError("three")
        return row * row

    found = list(in_parallel(work, 6))
    assert [row for row, _ in found] == [0, 1, 2, 3, 4, 5]
    assert [outcome for row, outcome in found if row != 3] == [0, 1, 4, 16, 25]
    assert str(found[3][1]) == "three"


def test_there_is_a_thread_for_each_usable_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    together = threading.Barrier(3)
    # the barrier opens only if three rows are processed at the same time
    assert [outcome for _, outcome in in_parallel(lambda row: together.wait(20) >= 0, 3)] == [True, True, True]


def test_few_results_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    begun: list[int] = []
    for row, _ in in_parallel(lambda row: begun.append(row), 1000):
        assert len(begun) <= row + 8, "four rows a thread"
    assert len(begun) == 1000

"""One thread for linear algebra within the context, and what was set before after it."""

from __future__ import annotations

import scipy.linalg  # noqa: F401  # its BLAS is another one than NumPy's
from threadpoolctl import threadpool_info, threadpool_limits

from biotune.evolution.blas import one_thread


def threads() -> list[int]:
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_all_libraries_have_one_thread_within_the_context_and_what_was_set_before_after_it() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert before and set(before) == {2}
        for _ in range(2):
            with one_thread():
                assert set(threads()) == {1}
            assert threads() == before

"""Linear algebra on one thread, so that the numbers of a search do not depend on the number of cores."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


@cache
def _libraries() -> Any:
    """The controller of the BLAS libraries; finding them reads the process's memory map, far longer than a small fit takes."""
    import scipy.linalg  # noqa: F401  # brings SciPy's own BLAS, beside NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """A context in which NumPy's and SciPy's linear algebra has one thread; what was set before holds again after it."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1)
    return limited

"""A Ray of the tests' own, which all pools of a module join: each would take seconds to start one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def local_ray(cpus: int = 4) -> Iterator[None]:
    """Start Ray on this machine; skips where it is not installed."""
    ray = pytest.importorskip("ray")
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    for left in (2, 1, 0):
        try:
            ray.init(address="local", num_cpus=cpus, **options)
            break
        except Exception:  # on a busy machine it may not be up within the half a minute that Ray gives it
            ray.shutdown()
            if not left:
                raise
    try:
        yield
    finally:
        ray.shutdown()

"""Makes `made_up` importable, and one made-up run that tests only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import make_run


@pytest.fixture(scope="session")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, never written to."""
    return make_run(tmp_path_factory.mktemp("report") / "a run")

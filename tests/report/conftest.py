"""Makes `made_up` importable, and one made-up run that tests only read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_up import make_run  # noqa: E402


@pytest.fixture(scope="session")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, never written to."""
    return make_run(tmp_path_factory.mktemp("report") / "a run")

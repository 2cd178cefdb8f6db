"""The run that nobody disturbs."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import SEARCH, start


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("twin") / "run"
    process = start("run", *SEARCH, f"hydra.run.dir={folder}")
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error.decode()
    return folder

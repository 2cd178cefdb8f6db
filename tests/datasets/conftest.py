"""Makes `trees` importable from the tests of this folder and gives each test a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from biotune.backbones.network import Preprocessing


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def eight() -> Preprocessing:
    """A resize to 8 pixels and a crop of 8."""
    return Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

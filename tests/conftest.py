"""What tests share: one thread, a cache folder of their own, the expected values, and small ready-made data and networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden" / "vectors.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    parser.addoption("--write-golden", action="store_true", help="keep the tables of tests/golden as they come out now")


@pytest.fixture(scope="session", autouse=True)
def _frugal_and_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One torch thread, and no test ever touches the user's own cache; commands in subprocesses inherit the folder."""
    import torch

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("biotune-cache")))
        yield


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Expected values that were computed apart from this code."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def load_digits() -> Callable[..., Any]:
    """The bundled digits as `Data` with two folds and 200 test images; keyword arguments go to `DatasetConfig`."""
    from biotune.backbones.registry import build_network
    from biotune.config.schema import BackboneConfig, DatasetConfig
    from biotune.datasets.data import Data, find_dataset, load_dataset
    from biotune.datasets.splits import Resampling

    preprocessing = build_network(BackboneConfig("biotune", "glyphnet"), 10).preprocessing

    @cache
    def load(**options: Any) -> Data:
        config = DatasetConfig("digits", "digits", **{"max_eval_per_class": 20, **options})
        return load_dataset(find_dataset(config, Resampling(2)), preprocessing)

    return load


@pytest.fixture
def make_workspace(load_digits: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """A GlyphNet on the digits, ready for `finetune`; keyword arguments go to `TrainingConfig`."""
    import torch

    from biotune.backbones.registry import build_network
    from biotune.config.schema import BackboneConfig, TrainingConfig
    from biotune.training.workspace import Workspace

    def make(data: Any = None, weights: str = "default", **training: Any) -> Workspace:
        data = load_digits() if data is None else data
        network = build_network(BackboneConfig("biotune", "glyphnet", weights), len(data.classes))
        settings = TrainingConfig(**{"lr": 3e-3, "batch_size": 32, **training})
        return Workspace.of(network, data, settings, torch.device("cpu"), tmp_path)

    return make


@pytest.fixture(scope="session")
def _blank_plots() -> Callable[..., None]:
    def savefig(figure: Any, file: Any, *, format: str, **options: Any) -> None:
        file.write("<svg xmlns='x'></svg>" if format == "svg" else b"no image")

    return savefig


@pytest.fixture(scope="module")
def undrawn(_blank_plots: Callable[..., None]) -> Iterator[None]:
    """Plots are blank: rendering them takes longer than a tiny run, and only the report's own tests look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", _blank_plots)
        yield

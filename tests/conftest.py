"""What tests share: one thread, a cache folder of their own, the expected values, and small ready-made data and networks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden" / "vectors.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    parser.addoption("--write-golden", action="store_true", help="keep the tables of tests/golden as they come out now")


NEVER_MISSING = re.compile(r"could not import|the command is not installed")


def _fail_for_want_of_a_library(report: Any) -> None:
    """Where CI is set, the environment is the one that we chose: a skip for a library that is not there hides tests."""
    if os.environ.get("CI") == "true" and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if NEVER_MISSING.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason} (skipped elsewhere, but CI installs all that tests need)"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """No test is skipped in CI for want of a library."""
    answer = yield
    _fail_for_want_of_a_library(answer.get_result())  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Nor is a whole file."""
    answer = yield
    _fail_for_want_of_a_library(answer.get_result())  # type: ignore[attr-defined]


@pytest.fixture(scope="session", autouse=True)
def _frugal_and_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One torch thread, and no test ever touches the user's own cache; commands in subprocesses inherit the folder.

    Nor does a test wait for the disk: its files need not outlive a power failure. Commands in subprocesses do.
    """
    import torch

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
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
    from biotune.config.sections import BackboneConfig, DatasetConfig
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
    from biotune.config.sections import BackboneConfig, TrainingConfig
    from biotune.training.workspace import Workspace

    def make(data: Any = None, weights: str = "default", **training: Any) -> Workspace:
        data = load_digits() if data is None else data
        network = build_network(BackboneConfig("biotune", "glyphnet", weights), len(data.classes))
        settings = TrainingConfig(**{"lr": 3e-3, "batch_size": 32, **training})
        return Workspace.of(network, data, settings, torch.device("cpu"), tmp_path)

    return make


SAVEFIG = "matplotlib.figure.Figure.savefig"


@pytest.fixture(scope="session", autouse=True)
def savefig() -> Iterator[Callable[..., None]]:
    """Plots are blank, as rendering them takes longer than a tiny run; see `drawn`. Returns what renders them."""
    from matplotlib.figure import Figure

    def blank(figure: Any, file: Any, *, format: str, **options: Any) -> None:
        file.write("<svg xmlns='x'></svg>" if format == "svg" else b"no image")

    whole = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAVEFIG, blank)
        yield whole


@pytest.fixture
def drawn(savefig: Callable[..., None]) -> Iterator[None]:
    """Plots are rendered in a test that looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAVEFIG, savefig)
        yield

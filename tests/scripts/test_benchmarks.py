"""The benchmarks' own machinery, on made-up numbers and tiny networks; the measurements themselves are not repeated here."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

SCRIPTS = Path(__file__).parents[2] / "scripts"
BENCHMARKS = sorted(path.stem for path in SCRIPTS.glob("bench_*.py"))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def _scripts_on_the_path() -> Iterator[None]:
    """As if the scripts were started where they lie; what is imported so is forgotten again."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield
    for name in set(sys.modules) - before:
        if (SCRIPTS / f"{name}.py").is_file():
            del sys.modules[name]


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [*BENCHMARKS, "plain_loop"])
def test_each_says_what_it_is_for_and_does_nothing_when_imported(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = script(name)
    assert module.__doc__ and len(module.__doc__.strip()) > 40
    assert capsys.readouterr() == ("", "")
    if name.startswith("bench_") and name != "bench_common":
        assert callable(module.main) and module.main.__doc__


class TestCommon:
    def test_the_ratio_is_the_median_of_each_pairs_second_over_its_first(self) -> None:
        # 2, 10 and 3; the ratio of the medians would be 4
        assert script("bench_common").median_ratio([(1.0, 2.0), (1.0, 10.0), (2.0, 6.0)]) == 3.0
        assert script("bench_common").median_ratio([(4.0, 1.0), (4.0, 2.0)]) == pytest.approx(0.375)

    def test_pairs_are_timed_in_turn(self) -> None:
        calls: list[str] = []
        pairs = script("bench_common").paired(lambda: calls.append("ours"), lambda: calls.append("theirs"), 3)
        assert calls == ["ours", "theirs"] * 3
        assert len(pairs) == 3 and all(seconds >= 0 for pair in pairs for seconds in pair)

    def test_a_tree_has_as_many_pictures_of_that_size_as_asked_for_spread_over_the_classes(self, tmp_path: Path) -> None:
        root = script("bench_common").picture_tree(tmp_path / "tree", {"train": 7, "val": 3}, 3, (40, 30))
        counts = {
            str(folder.relative_to(root)): len(list(folder.iterdir())) for folder in sorted(root.glob("*/*")) if folder.is_dir()
        }
        assert counts == {
            "train/class00": 3,
            "train/class01": 2,
            "train/class02": 2,
            "val/class00": 1,
            "val/class01": 1,
            "val/class02": 1,
        }
        for path in root.glob("*/*/*.jpg"):
            with Image.open(path) as picture:
                assert (picture.size, picture.mode, picture.format) == ((40, 30), "RGB", "JPEG")

    def test_one_seed_makes_the_same_pictures_and_another_others(self, tmp_path: Path) -> None:
        def made(name: str, seed: int) -> dict[str, bytes]:
            root = script("bench_common").picture_tree(tmp_path / name, {"train": 4}, 2, (32, 24), seed)
            return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpg")}

        first = made("first", 1)
        assert len(set(first.values())) == 4
        assert made("again", 1) == first
        assert not set(made("other", 2).values()) & set(first.values())

    def test_a_report_is_printed_and_written_between_its_marks_only(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        readme = tmp_path / "README.md"
        begin, end = "<!-- measured by scripts/bench_x.py -->", "<!-- end of bench_x -->"
        readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
        script("bench_common").report("bench_x", ["| a |", "| b |"], readme)
        assert capsys.readouterr().out == "| a |\n| b |\n"
        assert readme.read_text() == f"before\n{begin}\n| a |\n| b |\n{end}\nafter\n"


def run(trainings: int, search_epochs: int, epochs: int, seconds: float, test: float) -> dict[str, Any]:
    return {
        "trainings": trainings,
        "search_epochs": search_epochs,
        "epochs": epochs,
        "seconds": seconds,
        "test": test,
        "full": 0.5,
    }


class TestPruneTable:
    def test_costs_are_ratios_of_sums_and_accuracies_paired_differences(self) -> None:
        found = {
            "neither": [run(100, 1000, 2000, 10.0, 0.80), run(300, 3000, 4000, 30.0, 0.60), run(0, 0, 0, 0.0, 0.70)],
            "both": [run(100, 500, 1500, 10.0, 0.81), run(100, 1500, 3000, 20.0, 0.62), run(0, 0, 0, 0.0, 0.73)],
        }
        lines = script("bench_prune").table(found)
        columns = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
        assert len({len(cells) for cells in columns}) == 1
        assert columns[2] == ["neither", "1.00×", "1.00×", "1.00×", "1.00×", "0.7000 ± 0.1000", ""]
        # differences 0.01, 0.02, 0.03: half width 4.3027 * 0.01 / sqrt(3) = 0.0248
        assert columns[3] == [
            "both",
            "0.50×",
            "0.50×",
            "0.75×",
            "0.75×",
            "0.7200 ± 0.0954",
            "+0.0200 (-0.0048 to +0.0448)",
        ]
        assert lines[-1].startswith("Over 3 run and split seeds")

    def test_a_finished_run_is_read_and_not_run_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = script("bench_prune")
        monkeypatch.setattr(module.subprocess, "run", lambda *arguments, **options: pytest.fail("ran again"))
        (tmp_path / "measured.json").write_text('{"test": 0.5}')
        assert module.run(tmp_path, []) == {"test": 0.5}


class Tiny(nn.Module):
    """Two inputs, a normalised hidden layer, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, points: Tensor) -> Tensor:
        found: Tensor = self.head(torch.relu(self.norm(self.body(points))))
        return found


class Kept:
    """Makes the loop's own copy of the network accessible afterwards."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.model: nn.Module | None = None
        real = copy.deepcopy

        def watched(network: Any) -> Any:
            self.model = real(network)
            return self.model

        patch.setattr(script("plain_loop"), "copy", SimpleNamespace(deepcopy=watched))

    def state(self) -> dict[str, Tensor]:
        assert self.model is not None
        return self.model.state_dict()


def points(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    return torch.randn(count, 2, generator=generator) + (labels[:, None] * 4 - 2), labels


def loaders() -> list[Any]:
    batches = script("plain_loop").Batches
    return [batches(*points(65, 0), 16, True), batches(*points(40, 1), 16, False)]


def plan(rates: dict[tuple[str, ...], float], epochs: int = 12, patience: int = 99) -> Any:
    return script("plain_loop").Plan(rates, epochs, patience, 16, 16, 3, "head")


ALL = {("body", "norm"): 0.02, ("head",): 0.02}
HEAD = {("body", "norm"): 0.0, ("head",): 0.02}


@pytest.fixture
def network() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


class TestPlainLoop:
    @pytest.mark.parametrize("rates", [ALL, HEAD])
    def test_it_learns_and_leaves_the_network_it_was_given_alone(self, network: Tiny, rates: dict[Any, float]) -> None:
        before = copy.deepcopy(network.state_dict())
        curve = script("plain_loop").fine_tune(network, loaders(), plan(rates), CPU)
        assert len(curve) == 12 and all(0 <= score <= 1 for score in curve)
        assert max(curve) > 0.95
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def test_frozen_modules_keep_their_weights_and_normalisation_buffers(
        self, network: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = copy.deepcopy(network.state_dict())
        kept = Kept(monkeypatch)
        script("plain_loop").fine_tune(network, loaders(), plan(HEAD, epochs=3), CPU)
        changed = {name for name, value in kept.state().items() if not torch.equal(value, before[name])}
        assert changed == {"head.weight", "head.bias"}

    def test_trained_modules_change_with_their_buffers(self, network: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        before = copy.deepcopy(network.state_dict())
        kept = Kept(monkeypatch)
        script("plain_loop").fine_tune(network, loaders(), plan(ALL, epochs=1), CPU)
        assert all(not torch.equal(value, before[name]) for name, value in kept.state().items())
        # 65 pictures in batches of 16: the last batch of one is left out
        assert kept.state()["norm.num_batches_tracked"] == 4

    @pytest.mark.parametrize(
        ("scores", "patience", "trained"),
        [
            ([0.5, 0.6, 0.6, 0.5, 0.9], 2, 4),
            ([0.5, 0.4, 0.9, 0.9, 0.9], 1, 2),
            ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5),
            ([0.5, 0.4, 0.4, 0.4, 0.6], 4, 5),
        ],
    )
    def test_it_stops_after_that_many_epochs_without_a_better_score(
        self, scores: list[float], patience: int, trained: int, network: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script_of_scores = iter(scores)
        monkeypatch.setattr(script("plain_loop"), "_macro_accuracy", lambda *_: next(script_of_scores))
        assert script("plain_loop").fine_tune(network, loaders(), plan(ALL, 5, patience), CPU) == scores[:trained]

    def test_one_seed_gives_the_same_curve(self, network: Tiny) -> None:
        curves = [script("plain_loop").fine_tune(network, loaders(), plan(ALL, 3), CPU) for _ in range(2)]
        assert curves[0] == curves[1]

    def test_the_score_weighs_classes_alike(self) -> None:
        class Zero(nn.Module):
            def forward(self, points: Tensor) -> Tensor:
                return torch.tensor([[1.0, 0.0]]).repeat(len(points), 1)

        # all are taken for class 0: recall 1 and 0, whatever the counts
        val = [(torch.zeros(9, 2), torch.tensor([0] * 8 + [1])), (torch.zeros(1, 2), torch.tensor([0]))]
        assert script("plain_loop")._macro_accuracy(Zero(), val, CPU) == 0.5

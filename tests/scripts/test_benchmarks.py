"""The benchmarks' own machinery, on made-up numbers and tiny networks; the measurements themselves are not repeated here."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.splits import Resampling
from biotune.recipes.inputs import resampling_of
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials

SCRIPTS = Path(__file__).parents[2] / "scripts"
BENCHMARKS = sorted(path.stem for path in SCRIPTS.glob("bench_*.py"))
CPU = torch.device("cpu")


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

    def test_a_tree_has_as_many_images_of_that_size_as_asked_for_spread_over_the_classes(self, tmp_path: Path) -> None:
        root = script("bench_common").image_tree(tmp_path / "tree", {"train": 7, "val": 3}, 3, (40, 30))
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
            with Image.open(path) as image:
                assert (image.size, image.mode, image.format) == ((40, 30), "RGB", "JPEG")

    def test_one_seed_makes_the_same_images_and_another_others(self, tmp_path: Path) -> None:
        def made(name: str, seed: int) -> dict[str, bytes]:
            root = script("bench_common").image_tree(tmp_path / name, {"train": 4}, 2, (32, 24), seed)
            return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpg")}

        first = made("first", 1)
        assert len(set(first.values())) == 4
        assert made("again", 1) == first
        assert not set(made("other", 2).values()) & set(first.values())

    def test_a_report_is_printed_and_written_between_its_marks_only(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        page = tmp_path / "speed.md"
        begin, end = "<!-- measured by scripts/bench_x.py -->", "<!-- end of bench_x -->"
        page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
        script("bench_common").report("bench_x", ["| a |", "| b |"], page)
        assert capsys.readouterr().out == "| a |\n| b |\n"
        assert page.read_text() == f"before\n{begin}\n\n| a |\n| b |\n\n{end}\nafter\n"


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
        kinds = {
            "none": [run(100, 1000, 2000, 10.0, 0.80), run(300, 3000, 4000, 30.0, 0.60), run(0, 0, 0, 0.0, 0.70)],
            "predicted": [run(100, 500, 1500, 10.0, 0.81), run(100, 1500, 3000, 20.0, 0.62), run(0, 0, 0, 0.0, 0.73)],
        }
        other = {"none": [run(1, 10, 20, 1.0, 0.9), run(1, 10, 20, 1.0, 0.9), run(1, 10, 20, 1.0, 0.9)]}
        lines = script("bench_prune").table({"digits": kinds, "noise": other})
        columns = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
        assert len({len(cells) for cells in columns}) == 1
        assert columns[4] == ["noise", "none", "1.00×", "1.00×", "1.00×", "1.00×", "0.9000 ± 0.0000", ""]
        assert columns[2] == ["digits", "none", "1.00×", "1.00×", "1.00×", "1.00×", "0.7000 ± 0.1000", ""]
        # differences 0.01, 0.02, 0.03: half width 4.3027 * 0.01 / sqrt(3) = 0.0248
        assert columns[3] == [
            "digits",
            "predicted",
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
        assert kept.model is not None
        # nor are gradients computed for them, which a careful user would not pay for
        assert {name for name, weight in kept.model.named_parameters() if weight.grad is not None} == changed

    def test_trained_modules_change_with_their_buffers(self, network: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        before = copy.deepcopy(network.state_dict())
        kept = Kept(monkeypatch)
        script("plain_loop").fine_tune(network, loaders(), plan(ALL, epochs=1), CPU)
        assert all(not torch.equal(value, before[name]) for name, value in kept.state().items())
        # 65 images in batches of 16: the last batch of one is left out
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

    def test_modules_join_one_by_one_from_the_last_up_where_they_should(
        self, network: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moved = []
        for epochs in (1, 2):
            before = copy.deepcopy(network.state_dict())
            kept = Kept(monkeypatch)
            own = replace(plan(ALL, epochs), gradual=True)
            script("plain_loop").fine_tune(network, loaders(), own, CPU)
            moved.append({name for name, value in kept.state().items() if not torch.equal(value, before[name])})
            assert kept.model is not None
        assert moved == [{"head.weight", "head.bias"}, set(network.state_dict())]

    def test_it_waits_for_a_better_score_only_once_all_have_joined(
        self, network: Tiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores = iter([0.9, *[0.5] * 9])
        monkeypatch.setattr(script("plain_loop"), "_macro_accuracy", lambda *_: next(scores))
        own = replace(plan(ALL, 9, patience=1), gradual=True)
        assert len(script("plain_loop").fine_tune(network, loaders(), own, CPU)) == 3

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

    def test_every_module_moves_at_its_own_rate(self, network: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        before = copy.deepcopy(network.state_dict())
        kept = Kept(monkeypatch)
        images, labels = points(16, 0)
        rates = {("body",): 0.01, ("norm",): 0.0, ("head",): 0.002}
        script("plain_loop").fine_tune(network, [[(images, labels)], [(images, labels)]], plan(rates, epochs=1), CPU)
        torch.manual_seed(3)
        fresh = nn.Linear(8, 2).state_dict()
        starts = {"body.weight": before["body.weight"], "head.weight": fresh["weight"], "head.bias": fresh["bias"]}
        # Adam's first step is the rate itself, whatever the gradient
        for name, rate in {"body.weight": 0.01, "head.weight": 0.002, "head.bias": 0.002}.items():
            steps = (kept.state()[name] - starts[name]).abs()
            moved = steps[steps > rate / 100]  # where the gradient is nothing but rounding, a step may be smaller
            assert len(moved) >= steps.numel() / 2
            torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=1e-2, atol=0)

    def test_rates_fall_along_a_cosine_from_epoch_to_epoch(self, network: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[float]] = []

        class Watched(torch.optim.Adam):
            def step(self, closure: Any = None) -> Any:
                seen.append([group["lr"] for group in self.param_groups])
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Adam", Watched)
        one_batch = [points(16, 0)]
        given = dataclasses.replace(plan({("body", "norm"): 0.02, ("head",): 0.01}, epochs=4), decay_epochs=4)
        script("plain_loop").fine_tune(network, [one_batch, one_batch], given, CPU)
        course = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
        assert seen == [[pytest.approx(0.02 * share), pytest.approx(0.01 * share)] for share in course]

    def test_images_in_memory_come_once_each_with_their_labels_shuffled_only_if_asked(self) -> None:
        images = torch.arange(10.0)[:, None]
        batches = script("plain_loop").Batches
        in_order = list(batches(images, torch.arange(10), 4, False))
        assert [labels.tolist() for _, labels in in_order] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        shuffled = batches(images, torch.arange(10), 4, True)
        orders = [torch.cat([labels for _, labels in shuffled]).tolist() for _ in range(2)]
        assert sorted(orders[0]) == sorted(orders[1]) == list(range(10)) and orders[0] != orders[1]
        assert all(torch.equal(rows[:, 0], labels.float()) for rows, labels in shuffled)

    def test_image_files_are_resized_cut_and_normalised(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = script("plain_loop")
        monkeypatch.setattr(module, "LOADER_WORKERS", 0)
        colours = {"red": (255, 0, 0), "blue": (0, 0, 255), "grey": (102, 102, 102)}
        for name, colour in colours.items():
            Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
        files = [(tmp_path / f"{name}.png", label) for label, name in enumerate(colours)]
        geometry = SimpleNamespace(resize=12, crop=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))
        train, val = module.image_loaders(files, files, geometry, module.Plan({}, 1, 1, 2, 3, 0, "head"))
        ((images, labels),) = list(val)
        assert images.shape == (3, 3, 8, 8) and labels.tolist() == [0, 1, 2]
        # by hand: (value - mean) / std
        expected = torch.tensor([[1.0, -2.0, -1.0], [-1.0, -2.0, 1.0], [-0.2, -0.4, -0.2]])
        torch.testing.assert_close(images, expected[:, :, None, None].expand(3, 3, 8, 8), atol=1e-5, rtol=0)
        sizes = [len(labels) for _, labels in train]
        assert sizes == [2, 1]


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "bench_common"])
def test_help_says_what_is_measured_and_measures_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert " ".join(str(module.__doc__).split("\n")[0].split()) in said
    assert "--device" in said and "--docs" in said


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("bench_prune", ["--seeds", "7"]),
        ("bench_prune", ["--seeds", "7", "7"]),
        ("bench_search", ["--sample", "1"]),
        ("bench_search", ["--sample", "0"]),
    ],
)
def test_a_spread_of_fewer_than_two_numbers_is_refused_before_any_work(
    name: str, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script(name)
    monkeypatch.setattr(module.subprocess, "run", lambda *arguments, **options: pytest.fail("ran"))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{name}.py: error: argument {given[0]}: ") and "at least two" in last


def test_files_of_rows_come_with_their_labels(tmp_path: Path) -> None:
    data = SimpleNamespace(names=("train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg"), labels=np.array([0, 1, 1]))
    found = script("bench_common").labelled_files(tmp_path, data, np.array([2, 0]))
    assert found == [(tmp_path / "val/b/3.jpg", 1), (tmp_path / "train/a/1.jpg", 0)]


RESNET = tuple(
    Block(name, modules)
    for name, modules in [
        ("stem", ("conv1", "bn1")),
        *((f"layer{number}", (f"layer{number}",)) for number in range(1, 5)),
        ("head", ("fc",)),
    ]
)


class TestEvaluation:
    def test_the_table_ends_with_sums_and_their_ratios(self) -> None:
        # by hand: 6 / 4 and 5 / 4; the mean of the rows' own ratios would be another
        lines = script("bench_evaluation").table([("head only", 2.0, 3.0, 1.0), ("every block", 4.0, 2.0, 3.0)])
        assert lines[2] == "| head only | 2.0 s | 3.0 s | 1.00 s | 2.0× | 3.00× |"
        assert lines[4] == "| all six | 6.0 s | 5.0 s | 4.0 s | 1.5× | 1.25× |"

    def test_each_name_trains_the_blocks_it_says(self) -> None:
        module = script("bench_evaluation")
        trained = {name: module.chosen(RESNET, name).lr_weights for name in module.SCHEDULES}
        assert trained == {
            "every block": (1, 1, 1, 1, 1, 1),
            "all but the first two": (0, 0, 1, 1, 1, 1),
            "the last two": (0, 0, 0, 0, 1, 1),
            "head only": (0, 0, 0, 0, 0, 1),
            "stem and head": (1, 0, 0, 0, 0, 1),
            "layer2 and head": (0, 0, 1, 0, 0, 1),
        }

    def test_the_plain_loop_gets_the_same_fine_tune(self) -> None:
        module = script("bench_evaluation")
        trial = Trial(module.chosen(RESNET, "layer2 and head"), 0, 684, 3, LR)
        given = module.as_plan(trial)
        assert given.rates == {
            ("conv1", "bn1"): 0,
            ("layer1",): 0,
            ("layer2",): 1e-3,
            ("layer3",): 0,
            ("layer4",): 0,
            ("fc",): 1e-3,
        }
        assert (given.epochs, given.seed, given.batch_size, given.head, given.decay_epochs) == (3, 684, 32, "fc", 100)


class TestSearch:
    def test_records_are_the_journals_lines(self, tmp_path: Path) -> None:
        records = [{"kind": "header", "format": 1}, {"kind": "trial", "key": "1.0|-@fold0/seed7/epochs3", "curve": [0.5]}]
        records[1]["error"] = "one line\u2028and no other\x85"
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (tmp_path / "journal.jsonl").write_text(text, encoding="utf-8")
        assert script("bench_search").records(tmp_path) == records

    def test_a_trial_is_told_to_the_plain_loop_from_its_key_alone(
        self, load_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        module = script("bench_search")
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".hydra" / "config.yaml").write_text("evolution: {folds: 5, resplit: true}\nconfirm: {splits: 4}\n")
        asked: list[Any] = []
        network, data = build_network(BackboneConfig("biotune", "glyphnet"), 10), load_digits()
        inputs = SimpleNamespace(device=CPU, network=network, data=data)
        take = SimpleNamespace(take=lambda config, on_decoded: asked.append(resampling_of(config)) or inputs)
        monkeypatch.setattr(module, "Prepared", lambda: take)
        told: list[Any] = []
        monkeypatch.setattr(module, "fine_tune", lambda *arguments: told.append(arguments))
        weights = (0.0, 0.1 + 0.2, 0.0, 10.0, 1.0, 2.5)
        orders = {1: "last_to_first", None: "together"}
        trials = [Trial(Schedule(network.blocks, weights, unfreezing=orders[fold]), fold, 559, 30, LR) for fold in (1, None)]
        case = dataclasses.replace(module.digits(), training=TrainingConfig(lr=0.01, epochs=30, patience=4, batch_size=50))
        given = SimpleNamespace(device="cpu", seed=0, sample=9)
        seconds = module.sample(case, [{"key": trial.key} for trial in trials], given, tmp_path)
        assert asked == [Resampling(5, anew=True, confirming=4)]  # the run's own splits
        assert len(seconds) == len(told) == 2
        parts = {len(data.whole.train): data.whole, len(data.folds[1].train): data.folds[1]}
        for pretrained, (train, val), given, device in told:
            assert pretrained is network.module and device == CPU
            assert given.rates == {block.modules: weight * 0.01 for block, weight in zip(network.blocks, weights, strict=True)}
            assert (given.seed, given.epochs, given.patience, given.batch_size, given.head) == (559, 30, 4, 50, "head")
            part = parts.pop(len(train.labels))
            assert given.gradual == (part is data.folds[1])
            assert (train.size, train.shuffled, val.shuffled) == (50, True, False)
            assert train.labels.tolist() == data.labels[part.train].tolist()
            assert val.labels.tolist() == data.labels[part.val].tolist()
            # glyphnet's normalisation by hand
            plain = (data.pixels[part.val].astype(np.float64) / 255 - 0.3) / 0.37
            np.testing.assert_allclose(val.images, plain.transpose(0, 3, 1, 2), atol=1e-5)
        assert not parts


def test_a_run_not_yet_measured_is_made_and_its_costs_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("bench_prune")
    commands: list[list[str]] = []

    def pretended(command: list[str], check: bool) -> None:
        commands.append(command)
        score = {"macro_accuracy": {"mean": 0.9}}
        result = {
            "search": {"epochs": 11, "trainings": 4},
            "test": score,
            "baselines": {"full": {"macro_accuracy": {"mean": 0.8}}},
        }
        (tmp_path / "result.json").write_text(json.dumps(result))
        records = [{"kind": "header"}, *({"kind": "trial", "curve": [0.1] * length} for length in (5, 6, 3))]
        (tmp_path / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    monkeypatch.setattr(module.subprocess, "run", pretended)
    found = module.run(tmp_path, ["seed=3"])
    assert commands[0][1:] == ["-m", "biotune", "run", "-q", f"hydra.run.dir={tmp_path}", "seed=3"]
    assert found.pop("seconds") >= 0
    assert found == {"search_epochs": 11, "epochs": 14, "trainings": 4, "test": 0.9, "full": 0.8}
    again = module.run(tmp_path, ["seed=3"])
    again.pop("seconds")
    assert again == found and len(commands) == 1


def test_many_names_of_few_images_make_the_splits_they_should(tmp_path: Path) -> None:
    script("bench_memory").one_image_many_names(tmp_path, 50)
    files = {split: list((tmp_path / "images" / split).rglob("*.jpg")) for split in ("train", "val", "test")}
    assert {split: len(paths) for split, paths in files.items()} == {"train": 30, "val": 10, "test": 10}
    originals = {path.stat().st_ino for path in (tmp_path / "originals").rglob("*.jpg")}
    assert {path.stat().st_ino for paths in files.values() for path in paths} <= originals

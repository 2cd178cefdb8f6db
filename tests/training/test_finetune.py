"""The training loop: what a trial's result depends on, what decides its best epoch, and what it must never look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from biotune.backbones.network import main_output
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, TrainingConfig
from biotune.datasets.data import Data, Part
from biotune.errors import TrialError
from biotune.executors.in_process import InProcess
from biotune.executors.setup import run_trial
from biotune.schedule.schedule import Schedule
from biotune.strategies.registry import fixed_schedule
from biotune.training import finetune as loop
from biotune.training.finetune import _train_epoch, batch_rows, class_weights, finetune, predict
from biotune.training.model import kept_model, kept_predictions
from biotune.training.optimizer import build_optimizer, lr_factor
from biotune.training.workspace import Workspace
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials

# PyTorch warns that no optimizer stepped where a test's scripted epochs train nothing
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")

MakeWorkspace = Callable[..., Workspace]


def trial(workspace: Workspace, seed: int = 1, epochs: int = 2, weights: Sequence[float] | None = None, **more: Any) -> Trial:
    blocks = workspace.network.blocks
    return Trial(
        Schedule(blocks, tuple(weights or (1.0,) * len(blocks))),
        more.pop("fold", 0),
        seed,
        epochs,
        workspace.training.base_lr,
        **more,
    )


def moved_by_epoch(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, own: Trial
) -> tuple[list[set[str]], list[int], TrialResult]:
    """Which blocks' weights or statistics change in each epoch of a training, and how many calls it makes of the first one."""
    owners = {path: block.name for block in workspace.network.blocks for path in block.modules}
    inner, found, calls = _train_epoch, [], []
    module = workspace.network.module
    first = module.get_submodule(workspace.network.blocks[0].modules[0])
    handle = first.register_forward_hook(lambda *_: calls.append(len(found)))

    def watched(*given: Any) -> None:
        before = {name: value.clone() for name, value in module.state_dict().items()}
        inner(*given)
        changed = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
        found.append({next(owner for path, owner in owners.items() if name.startswith(path + ".")) for name in changed})

    monkeypatch.setattr(loop, "_train_epoch", watched)
    try:
        result = finetune(own, workspace).result
    finally:
        handle.remove()
    return found, [calls.count(epoch) for epoch in range(len(found))], result


class TestUnfreezing:
    WEIGHTS = (1.0, 0.0, 1.0, 0.0, 2.0, 1.0)  # stem, layer2, layer4 and head of a GlyphNet

    @pytest.mark.parametrize(
        ("order", "joining"),
        [
            ("together", ["stem layer2 layer4 head"] * 5),
            ("last_to_first", ["head", "layer4 head", "layer2 layer4 head", *["stem layer2 layer4 head"] * 2]),
            ("first_to_last", ["stem", "stem layer2", "stem layer2 layer4", *["stem layer2 layer4 head"] * 2]),
        ],
    )
    def test_exactly_the_blocks_that_have_joined_move_in_each_epoch(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch, order: str, joining: list[str]
    ) -> None:
        workspace = make_workspace(patience=9)
        own = trial(workspace, epochs=5, weights=self.WEIGHTS)
        own = replace(own, schedule=replace(own.schedule, unfreezing=order))
        found, _, _ = moved_by_epoch(monkeypatch, workspace, own)
        assert found == [set(text.split()) for text in joining]

    def test_a_training_does_not_end_before_everything_has_joined(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace(lr=1e-9, patience=1)  # nothing gets better
        own = trial(workspace, epochs=30, weights=self.WEIGHTS)
        assert len(finetune(own, workspace).result.curve) == 2
        own = replace(own, schedule=replace(own.schedule, unfreezing="last_to_first"))
        assert len(finetune(own, workspace).result.curve) == 3 + 2

    def test_it_is_not_given_up_before_everything_has_joined(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace(patience=9)
        own = trial(workspace, epochs=6, weights=self.WEIGHTS, floor=(1.1,) * 6)
        assert len(finetune(own, workspace).result.curve) == 1
        late = finetune(replace(own, schedule=replace(own.schedule, unfreezing="last_to_first")), workspace).result
        assert (late.status, len(late.curve)) == ("pruned", 4)

    def test_what_is_still_frozen_at_the_beginning_is_not_computed_where_activations_are_shared(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        alone = make_workspace(patience=9)
        own = trial(alone, epochs=5, weights=self.WEIGHTS)
        own = replace(own, schedule=replace(own.schedule, unfreezing="last_to_first"))
        expected = finetune(own, alone).result
        shared = Workspace.of(
            build_network(BackboneConfig("biotune", "glyphnet"), 10),
            alone.data,
            alone.training,
            alone.device,
            tmp_path,
            1.0,
        )
        finetune(own, shared)  # computes the activations
        found, calls, result = moved_by_epoch(monkeypatch, shared, own)
        assert calls[:3] == [0, 0, 0] and min(calls[3:]) > 0
        assert result.curve == pytest.approx(expected.curve, abs=0.02)
        assert found[0] == {"head"}


class TestTrainingLoss:
    def test_it_is_the_mean_over_the_mini_batches_of_what_is_minimised(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace = make_workspace(batch_size=32, label_smoothing=0.1, class_weights="balanced", precision="fp32", patience=9)
        seen: list[float] = []
        forward = nn.CrossEntropyLoss.forward

        def watched(own: nn.CrossEntropyLoss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            assert own.weight is not None
            seen.append(float(nn.functional.cross_entropy(logits.detach(), targets, weight=own.weight, label_smoothing=0.1)))
            return forward(own, logits, targets)

        monkeypatch.setattr(nn.CrossEntropyLoss, "forward", watched)
        result = finetune(trial(workspace, epochs=3), workspace).result
        by_epoch = np.reshape(seen, (3, -1))
        assert by_epoch.shape[1] > 1
        assert result.train_losses == pytest.approx(by_epoch.mean(1).tolist(), rel=1e-5)
        assert len(result.train_losses) == len(result.losses) == 3


class TestWhatAResultDependsOn:
    def test_the_same_trial_gives_the_same_curve_and_weights_and_another_seed_others(
        self, make_workspace: MakeWorkspace
    ) -> None:
        workspace = make_workspace()
        first = finetune(trial(workspace), workspace).result
        weights = {name: value.clone() for name, value in workspace.network.module.state_dict().items()}
        again = finetune(trial(workspace), workspace).result
        assert again.curve == first.curve
        assert all(torch.equal(value, weights[name]) for name, value in workspace.network.module.state_dict().items())
        # nor does it matter which worker it runs on, or what was drawn there before
        torch.rand(17)
        elsewhere = make_workspace()
        assert finetune(trial(elsewhere), elsewhere).result.curve == first.curve
        assert finetune(trial(workspace, seed=2), workspace).result.curve != first.curve

    def test_the_order_of_trials_does_not_matter(self, make_workspace: MakeWorkspace) -> None:
        here, there = make_workspace(), make_workspace()
        trials = [
            trial(here, weights=(0.0, 1.0, 0.0, 3.0, 0.0, 1.0)),
            trial(here, seed=5, weights=(0.1, 0.0, 2.0, 0.0, 1.0, 10.0), fold=1),
            trial(here, seed=5, fold=None, epochs=1),
        ]
        forward = [finetune(one, here).result.curve for one in trials]
        backward = [finetune(one, there).result.curve for one in reversed(trials)]
        assert forward == backward[::-1]
        assert len(set(forward)) == 3

    def test_the_head_is_fresh_a_seed_and_the_body_always_the_same(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace = make_workspace()
        starts: list[dict[str, torch.Tensor]] = []

        def note(space: Workspace, *_: Any) -> None:
            starts.append({name: value.clone() for name, value in space.network.module.state_dict().items()})

        monkeypatch.setattr(loop, "_train_epoch", note)
        for seed in (1, 2, 1):
            finetune(trial(workspace, seed, epochs=1), workspace)
        one, two, again = starts
        differing = {name for name, value in one.items() if not torch.equal(value, two[name])}
        assert differing == {"head.weight", "head.bias"}
        assert all(torch.equal(value, again[name]) for name, value in one.items())
        assert all(torch.equal(one[name], value) for name, value in workspace.initial.items() if not name.startswith("head"))

    def test_a_kept_head_starts_from_its_weights(self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
        workspace = make_workspace()
        workspace.network = replace(workspace.network, fresh_head=False)
        monkeypatch.setattr(loop, "_train_epoch", lambda *_: None)
        finetune(trial(workspace, epochs=1), workspace)
        state = workspace.network.module.state_dict()
        assert all(torch.equal(state[name], value) for name, value in workspace.initial.items())

    def test_the_size_of_evaluation_batches_does_not_change_scores(self, make_workspace: MakeWorkspace) -> None:
        results = []
        for size in (1, 7, 1000):
            workspace = make_workspace(eval_batch_size=size)
            results.append(finetune(trial(workspace, test=True), workspace).result)
        assert results[0].curve == results[1].curve == results[2].curve
        for result in results[1:]:
            assert result.scores == pytest.approx(results[0].scores, abs=1e-6)

    def test_a_fold_trains_and_validates_on_its_own_rows_only(
        self, make_workspace: MakeWorkspace, load_digits: Callable[..., Data]
    ) -> None:
        for fold in (0, 1, None):
            workspace, seen = watched(make_workspace, load_digits())
            finetune(trial(workspace, fold=fold), workspace)
            part = workspace.data.part(fold)
            assert seen == set(part.train.tolist()) | set(part.val.tolist())


class Watched:
    """Pixels that note which rows were read."""

    def __init__(self, pixels: np.ndarray, seen: set[int]) -> None:
        self.pixels, self.seen = pixels, seen

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.seen.update(rows.tolist())
        return self.pixels[rows]


def watched(make_workspace: MakeWorkspace, data: Data) -> tuple[Workspace, set[int]]:
    seen: set[int] = set()
    return make_workspace(replace(data, pixels=Watched(data.pixels, seen))), seen


class TestTestData:
    def test_it_is_untouched_unless_the_trial_asks_for_it(
        self, make_workspace: MakeWorkspace, load_digits: Callable[..., Data]
    ) -> None:
        workspace, seen = watched(make_workspace, load_digits())
        test = set(workspace.data.test.tolist())
        assert finetune(trial(workspace, fold=None), workspace).result.scores == {}
        assert not seen & test
        assert finetune(trial(workspace, fold=None, test=True), workspace).result.scores
        assert test <= seen

    def test_its_labels_change_neither_the_curve_nor_the_weights(
        self, make_workspace: MakeWorkspace, load_digits: Callable[..., Data]
    ) -> None:
        data = load_digits()
        labels = data.labels.copy()
        labels[data.test] = (labels[data.test] + 1) % 10
        honest, lied_to = make_workspace(), make_workspace(replace(data, labels=labels))
        one, other = finetune(trial(honest, test=True), honest).result, finetune(trial(lied_to, test=True), lied_to).result
        assert one.curve == other.curve
        assert one.scores["accuracy"] > 0.5 > other.scores["accuracy"]
        state = lied_to.network.module.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in honest.network.module.state_dict().items())


@pytest.fixture
def by_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Validation scores from a script instead of from predictions; each epoch marks the head's bias with its number."""

    def install(curve: Sequence[float]) -> None:
        scores: Iterator[float] = iter(curve)
        epochs = iter(range(1, len(curve) + 1))

        def train(workspace: Workspace, *_: Any) -> None:
            with torch.no_grad():
                workspace.network.module.head.bias.fill_(next(epochs))

        monkeypatch.setattr(loop, "_train_epoch", train)
        monkeypatch.setattr(loop, "macro_accuracy", lambda *_: next(scores))

    return install


class TestEpochs:
    @pytest.mark.parametrize(
        ("curve", "patience", "epochs", "trained", "best"),
        [
            ([0.1, 0.2, 0.3, 0.4, 0.5], 3, 5, 5, 5),
            ([0.1, 0.2, 0.3, 0.4, 0.5], 3, 2, 2, 2),
            ([0.5, 0.4, 0.4, 0.4, 0.9], 3, 5, 4, 1),  # the rise comes an epoch too late
            ([0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.9], 3, 9, 7, 4),
            ([0.5, 0.5, 0.5, 0.5], 2, 9, 3, 1),  # a draw is no better score, and the earlier epoch stays the best
            ([0.5, 0.4, 0.9], 1, 9, 2, 1),
            ([0.0, 0.0, 0.1], 9, 3, 3, 3),
        ],
    )
    def test_patience_and_budget_end_a_training_and_the_best_epoch_is_tested(
        self,
        curve: list[float],
        patience: int,
        epochs: int,
        trained: int,
        best: int,
        by_script: Callable[[Sequence[float]], None],
        make_workspace: MakeWorkspace,
    ) -> None:
        by_script(curve)
        workspace = make_workspace(patience=patience)
        found = finetune(trial(workspace, epochs=epochs, test=True), workspace)
        result = found.result
        assert result.curve == tuple(curve[:trained])
        assert result.score == max(curve[:trained])
        assert torch.equal(workspace.network.module.head.bias, torch.full((10,), float(best)))
        assert found.state is not None
        assert torch.equal(found.state["head.bias"], torch.full((10,), float(best)))


def test_a_kept_model_in_a_fresh_network_predicts_what_its_table_says(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace = make_workspace()
    own = trial(workspace, epochs=3, fold=None, test=True, keep="7")
    result = run_trial(own, workspace, tmp_path)
    other = make_workspace(weights="none")
    other.network.module.load_state_dict(load_file(kept_model(tmp_path, "7")))
    probabilities = predict(other, other.data.test).softmax(1).numpy()
    table = pd.read_csv(kept_predictions(tmp_path, "7"), dtype={"true_class": str, "predicted_class": str, "picture": str})
    assert table.predicted_class.tolist() == [str(guess) for guess in probabilities.argmax(1)]
    np.testing.assert_allclose(table.probability, probabilities.max(1), atol=1e-6)
    assert table.true_class.tolist() == [str(label) for label in other.data.labels[other.data.test]]
    assert table.picture.tolist() == [other.data.names[row] for row in other.data.test]
    assert (table.true_class == table.predicted_class).mean() == pytest.approx(result.scores["accuracy"], abs=1e-12)


class TestRates:
    def rates(self, settings: TrainingConfig, epochs: int) -> list[float]:
        return [lr_factor(epoch, settings, epochs) for epoch in range(epochs)]

    def torchs(self, scheduler: Callable[[Any], Any], epochs: int) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        plan = scheduler(optimizer)
        found = []
        for _ in range(epochs):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            plan.step()
        return found

    @pytest.mark.parametrize("length", [1, 5, 100])
    def test_cosine_is_torchs(self, length: int) -> None:
        expected = self.torchs(lambda optimizer: CosineAnnealingLR(optimizer, T_max=length), length + 1)
        assert self.rates(TrainingConfig(cosine_epochs=length), length + 1) == pytest.approx(expected, abs=1e-9)

    def test_cosine_stays_at_zero_once_it_is_there(self) -> None:
        assert self.rates(TrainingConfig(cosine_epochs=3), 8)[3:] == [0.0] * 5

    @pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (4, 0.1)])
    def test_step_is_torchs(self, every: int, factor: float) -> None:
        settings = TrainingConfig(scheduler="step", step_epochs=every, step_factor=factor)
        expected = self.torchs(lambda optimizer: StepLR(optimizer, step_size=every, gamma=factor), 14)
        assert self.rates(settings, 14) == pytest.approx(expected, rel=1e-9)

    def test_constant_is_constant(self) -> None:
        assert self.rates(TrainingConfig(scheduler="constant"), 9) == [1.0] * 9

    def test_warm_up_rises_linearly_and_the_course_begins_after_it(self) -> None:
        rates = self.rates(TrainingConfig(warmup_epochs=4, cosine_epochs=2), 8)
        assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.0, 0.0], abs=1e-12)

    def test_every_block_follows_the_same_course_at_its_own_height(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[float]] = []

        def note(workspace: Workspace, entry: Any, rows: Any, order: Any, optimizer: torch.optim.Optimizer, *_: Any) -> None:
            seen.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()

        monkeypatch.setattr(loop, "_train_epoch", note)
        workspace = make_workspace(lr=1e-2, cosine_epochs=4, patience=9)
        finetune(trial(workspace, epochs=3, weights=(0.0, 0.5, 0.0, 0.0, 2.0, 10.0)), workspace)
        course = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(3)]
        assert np.array(seen) == pytest.approx(np.outer(course, [5e-3, 2e-2, 1e-1]), rel=1e-9)


class TestLoss:
    @pytest.mark.parametrize("counts", [(5, 5, 5), (1, 9, 30), (7, 0, 3)])
    def test_balanced_class_weights_are_scikit_learns(self, counts: tuple[int, ...]) -> None:
        labels = np.repeat(np.arange(3), counts)
        data: Any = SimpleNamespace(labels=np.concatenate([labels, [0] * 50]), classes=("a", "b", "c"))
        rows = np.arange(len(labels))  # the other fifty images are not trained on
        found = class_weights(data, rows, TrainingConfig(class_weights="balanced"), torch.device("cpu"))
        there = np.unique(labels)
        expected = np.zeros(3)
        expected[there] = compute_class_weight("balanced", classes=there, y=labels)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert class_weights(data, rows, TrainingConfig(), torch.device("cpu")) is None

    def test_class_weights_reach_the_training(self, make_workspace: MakeWorkspace, load_digits: Callable[..., Data]) -> None:
        data = load_digits()
        whole = data.whole
        few = np.concatenate([whole.train[data.labels[whole.train] == label][: 20 if label < 5 else 2] for label in range(10)])
        scarce = replace(data, whole=Part(np.sort(few), whole.val))
        recalls = {}
        for setting in ("none", "balanced"):
            workspace = make_workspace(scarce, class_weights=setting, patience=9)
            finetune(trial(workspace, fold=None, epochs=4), workspace)
            guesses = predict(workspace, whole.val).argmax(1).numpy()
            rare = data.labels[whole.val] >= 5
            recalls[setting] = (guesses[rare] == data.labels[whole.val][rare]).mean()
        assert recalls["balanced"] > recalls["none"]

    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
    def test_each_optimizer_learns(self, optimizer: str, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace(optimizer=optimizer, lr=0.03 if optimizer == "sgd" else 3e-3)
        result = finetune(trial(workspace, fold=None, epochs=3), workspace).result
        assert result.score > 0.7

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            # the first step by hand, for a weight of 2 with gradient 4 at rate 0.1
            ({"optimizer": "sgd"}, 2 - 0.1 * 4),
            ({"optimizer": "sgd", "weight_decay": 0.5}, 2 - 0.1 * (4 + 0.5 * 2)),
            ({"optimizer": "adam"}, 2 - 0.1),
            ({"optimizer": "adamw", "weight_decay": 0.5}, 2 - 0.1 * 0.5 * 2 - 0.1),
        ],
    )
    def test_the_first_step_of_each_optimizer_is_the_one_by_hand(self, settings: dict[str, Any], expected: float) -> None:
        weight = nn.Parameter(torch.tensor([2.0]))
        groups = [{"params": [weight], "lr": 0.1, "name": "head"}]
        optimizer = build_optimizer(groups, TrainingConfig(lr=7.0, **settings), torch.device("cpu"))
        weight.grad = torch.tensor([4.0])
        optimizer.step()
        assert weight.item() == pytest.approx(expected, rel=1e-6)

    def test_sgd_carries_the_momentum_that_is_set(self) -> None:
        weight = nn.Parameter(torch.tensor([0.0]))
        optimizer = build_optimizer(
            [{"params": [weight], "lr": 1.0, "name": "head"}],
            TrainingConfig(optimizer="sgd", momentum=0.5),
            torch.device("cpu"),
        )
        for _ in range(2):
            weight.grad = torch.tensor([1.0])
            optimizer.step()
        assert weight.item() == pytest.approx(-1 - 1.5)

    def test_a_diverging_loss_is_an_error_here_and_a_failed_result_in_an_executor(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace(lr=1e30, optimizer="sgd")
        with pytest.raises(TrialError, match="the loss became (nan|inf|-inf) in epoch 1"):
            finetune(trial(workspace), workspace)
        healthy = trial(workspace, weights=(0.0,) * 5 + (1e-33,))
        told: list[str] = []
        bad, good = InProcess(workspace, Path("none")).run(
            [trial(workspace), healthy], lambda _, result: told.append(result.status)
        )
        assert bad.status == "failed"
        assert "loss became" in str(bad.error)
        assert told == ["failed", "ok"]
        # and the wreck of one trial is not the next one's start
        unspoilt = make_workspace(lr=1e30, optimizer="sgd")
        assert good.curve == finetune(healthy, unspoilt).result.curve


class TestBatches:
    @pytest.mark.parametrize(
        ("rows", "size", "expected"),
        [
            (10, 4, [4, 4, 2]),
            (9, 4, [4, 5]),
            (8, 4, [4, 4]),
            (5, 4, [5]),
            (3, 4, [3]),
            (1, 4, [1]),
            (3, 2, [3]),
        ],
    )
    def test_a_last_single_image_joins_the_batch_before(self, rows: int, size: int, expected: list[int]) -> None:
        batches = list(batch_rows(np.arange(rows), size))
        assert [len(batch) for batch in batches] == expected
        assert np.concatenate(batches).tolist() == list(range(rows))

    def test_every_epoch_sees_every_training_image_once_in_a_new_order(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace, seen = make_workspace(batch_size=33), []
        real = workspace.images_in_turn

        def watched(batches: Sequence[np.ndarray]) -> Iterator[torch.Tensor]:
            seen.extend(rows.tolist() for rows in batches)
            return real(batches)

        monkeypatch.setattr(workspace, "images_in_turn", watched)
        monkeypatch.setattr(loop, "predict", lambda space, rows, entry: torch.zeros(len(rows), 10))
        finetune(trial(workspace, epochs=2), workspace)  # 100 images in a fold: 33, 33, 34
        assert [len(batch) for batch in seen] == [33, 33, 34] * 2
        first, second = (sum(seen[start : start + 3], []) for start in (0, 3))
        rows = workspace.data.folds[0].train.tolist()
        assert sorted(first) == sorted(second) == rows
        assert first != second != rows

    def test_images_are_normalised_as_the_weights_expect(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace()
        rows = np.array([3, 1, 4])
        found = workspace.images(rows)
        plain = workspace.data.pixels[rows].astype(np.float64) / 255
        np.testing.assert_allclose(found, (plain.transpose(0, 3, 1, 2) - 0.3) / 0.37, atol=1e-5)


def test_the_main_output_is_found_in_whatever_a_network_returns() -> None:
    logits, other = torch.ones(2, 3), torch.zeros(2, 3)
    for output in (logits, (logits, other), [logits, other], {"logits": logits, "aux": other}, {"aux": other, "out": logits}):
        assert main_output(output) is logits
    assert main_output(((logits, other), other)) is logits


@pytest.fixture(scope="module")
def transfer(load_digits: Callable[..., Data], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], float]:
    """Mean test accuracy of a strategy on digits over two seeds, from given weights, under a shift."""

    def score(strategy: str, weights: str, shift: str = "none") -> float:
        data = load_digits(shift=shift)
        network = build_network(BackboneConfig("biotune", "glyphnet", weights), 10)
        settings = TrainingConfig(lr=3e-3, batch_size=32)
        workspace = Workspace.of(network, data, settings, torch.device("cpu"), tmp_path_factory.mktemp("transfer"))
        schedule = fixed_schedule(strategy, network.blocks)
        results = [finetune(Trial(schedule, None, seed, 8, LR, test=True), workspace).result for seed in (1, 2)]
        return float(np.mean([result.scores["macro_accuracy"] for result in results]))

    return score


def test_the_shipped_weights_transfer(transfer: Callable[..., float]) -> None:
    """Far above random weights with a frozen body, and clearly so with every block trained, on clean and noisy digits."""
    assert transfer("linear_probe", "default") > transfer("linear_probe", "none") + 0.5
    noisy = transfer("full", "default", "noise")
    assert noisy > transfer("full", "none", "noise") + 0.08
    assert noisy > transfer("linear_probe", "default", "noise") + 0.15


def test_full_fine_tuning_of_the_shipped_weights_beats_random_ones_on_clean_digits(transfer: Callable[..., float]) -> None:
    assert transfer("full", "default") > transfer("full", "none") + 0.01

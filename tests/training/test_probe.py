"""The linear probe as the start of a head: it is scikit-learn's regression, and everything else starts as it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig, StrategyConfig, TrainingConfig
from biotune.errors import TrialError
from biotune.schedule.schedule import Schedule
from biotune.strategies.registry import plans
from biotune.training import finetune as loop
from biotune.training import probe
from biotune.training.finetune import finetune, predict
from biotune.training.probe import STRENGTHS, Examples, choose_head, features_of, fit_heads
from biotune.training.workspace import LinearHead, Workspace
from biotune.trial import Trial

MakeWorkspace = Callable[..., Workspace]


def trial(workspace: Workspace, start: str = "probe", seed: int = 1, fold: int | None = 0, **more: Any) -> Trial:
    blocks = workspace.network.blocks
    schedule = Schedule(blocks, (1.0,) * len(blocks), head_start=start)
    return Trial(schedule, fold, seed, more.pop("epochs", 2), 3e-3, **more)


def before_the_first_step(monkeypatch: pytest.MonkeyPatch, workspace: Workspace, own: Trial) -> dict[str, Tensor]:
    """The network's state when a training run begins its first epoch."""

    class BegunError(Exception):
        pass

    def begun(*_: Any) -> None:
        raise BegunError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_epoch", begun)
        with pytest.raises(BegunError):
            finetune(own, workspace)
    return {name: value.clone() for name, value in workspace.network.module.state_dict().items()}


def body_features(workspace: Workspace, rows: np.ndarray) -> np.ndarray:
    """GlyphNet's features, computed without hooks and chains."""
    module = workspace.network.module.eval()
    with torch.inference_mode():
        x = workspace.images(rows)
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            x = module.get_submodule(name)(x)
        return x.mean((2, 3)).double().numpy()


def by_scikit_learn(workspace: Workspace, fold: int | None, class_weight: str | None = None) -> np.ndarray:
    """(validation images, classes) probabilities of scikit-learn's regression, the strongest within a standard error."""
    data = workspace.data
    part = data.part(fold)
    workspace.reset()
    train, val = body_features(workspace, part.train), body_features(workspace, part.val)
    scaler = StandardScaler().fit(train)
    found = []
    for strength in STRENGTHS:
        # sum of losses + |w|²/2C has the minimum of mean loss + λF|w|²/2 at C = 1/λFN
        regression = LogisticRegression(C=1 / (strength * train.size), tol=1e-8, max_iter=5000, class_weight=class_weight)
        regression.fit(scaler.transform(train), data.labels[part.train])
        chances = regression.predict_proba(scaler.transform(val))
        truth = data.labels[part.val]
        recalls = [(chances[truth == label].argmax(1) == label).mean() for label in range(10)]
        found.append((np.mean(recalls), chances))
    best = max(score for score, _ in found)
    return next(chances for score, chances in found if score >= best - np.sqrt(best * (1 - best) / len(truth)))


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_before_the_first_step_it_predicts_what_scikit_learns_regression_does_on_the_untouched_body(
    class_weights: str, make_workspace: MakeWorkspace, load_digits: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_digits()
    few = np.delete(data.folds[0].train, np.flatnonzero(data.labels[data.folds[0].train] == 3)[2:])  # two images of a 3
    data = replace(data, folds=(replace(data.folds[0], train=few), *data.folds[1:]))
    workspace = make_workspace(data, class_weights=class_weights)
    state = before_the_first_step(monkeypatch, workspace, trial(workspace))
    for name, value in workspace.initial.items():
        assert name.startswith("head.") or torch.equal(state[name], value)
    chances = predict(workspace, data.folds[0].val).softmax(1).numpy()
    expected = by_scikit_learn(workspace, 0, None if class_weights == "none" else class_weights)
    assert chances == pytest.approx(expected, abs=2e-3)
    other = by_scikit_learn(workspace, 0, "balanced" if class_weights == "none" else None)
    assert np.abs(chances - other).max() > 0.05


def test_no_seed_changes_it_and_every_fold_has_its_own(make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace()
    fits = []
    monkeypatch.setattr(probe, "fit_heads", lambda *given: fits.append(1) or fit_heads(*given))
    weights = [
        before_the_first_step(monkeypatch, workspace, trial(workspace, seed=seed, fold=fold))["head.weight"]
        for seed, fold in ((1, 0), (2, 0), (1, 1), (1, None))
    ]
    assert torch.equal(weights[0], weights[1]) and len(fits) == 3  # fitted once for a fold
    assert len({weight.sum().item() for weight in weights}) == 3


def test_a_worker_that_has_trained_before_starts_from_the_same_probe(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, used = make_workspace(), make_workspace()
    finetune(trial(used, "fresh", fold=1), used)
    first, later = (before_the_first_step(monkeypatch, one, trial(one)) for one in (new, used))
    assert all(torch.equal(first[name], later[name]) for name in first)


@pytest.mark.parametrize("training", [{}, {"augment": "standard"}, {"frozen_norm": "train"}], ids=str)
def test_its_features_are_the_bodys_for_plain_images_shared_or_not(
    training: dict[str, Any], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    alone = make_workspace(precision="fp32", **training)
    network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    settings = TrainingConfig(lr=3e-3, batch_size=32, precision="fp32", **training)
    sharing = Workspace.of(network, alone.data, settings, alone.device, tmp_path, 1.0)
    rows = alone.data.folds[0].train
    sharing.network.module.train()
    for workspace in (alone, sharing):
        workspace.reset()
        assert features_of(workspace, rows).numpy() == pytest.approx(body_features(workspace, rows), abs=1e-5)
    assert (tmp_path / "boundary-5.bin").exists() == (training == {})


def test_the_rest_of_a_training_run_draws_what_it_draws_with_a_fresh_head(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace()
    states = []
    for start in ("fresh", "probe"):
        before_the_first_step(monkeypatch, workspace, trial(workspace, start))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_it_changes_the_run_and_only_where_the_schedule_says_so(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(make_workspace().data)
    untouched = finetune(trial(workspace, "fresh"), workspace).result.curve
    probed = finetune(trial(workspace), workspace).result.curve
    assert probed[0] > untouched[0] + 0.1  # the first epoch begins with a head that knows the classes
    assert finetune(trial(workspace, "fresh"), workspace).result.curve == untouched


def test_a_method_that_trains_the_head_first_takes_it_too(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    (plan,) = plans(StrategyConfig("lp_ft"), workspace.network.blocks, True)
    own = Trial(replace(plan.schedule, head_start="probe"), 0, 1, 4, 3e-3, method=plan.method)
    assert finetune(own, workspace).result.status == "ok"


def examples(seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 60)
    features = rng.normal(size=(60, 4)) * [1, 10, 0.1, 0] + [0, 5, 1, 7] + labels[:, None] * [0.5, 5, 0, 0]
    return Examples(torch.from_numpy(features), torch.from_numpy(labels))


def test_a_head_without_a_bias_is_fitted_without_one() -> None:
    one = examples()
    features = one.features.numpy()
    sd = np.where(features.std(0) > 0, features.std(0), 1.0)
    for strength, head in zip(STRENGTHS, fit_heads(one, None, 3, bias=False), strict=True):
        regression = LogisticRegression(C=1 / (strength * features.size), tol=1e-10, max_iter=9999, fit_intercept=False)
        regression.fit(features / sd, one.labels.numpy())
        chances = (one.features @ head.weight.T).softmax(1).numpy()
        assert chances == pytest.approx(regression.predict_proba(features / sd), abs=1e-3)
        assert not head.bias.any()


def test_a_feature_that_never_changes_has_no_weight() -> None:
    for head in fit_heads(examples(), None, 3):
        assert torch.isfinite(head.weight).all() and head.weight[:, 3].abs().max() < 1e-9


def test_a_class_without_training_images_is_predicted_nowhere_and_all_stays_finite() -> None:
    one = examples()
    for head in fit_heads(one, None, 4):
        logits = one.features @ head.weight.T + head.bias
        assert torch.isfinite(logits).all() and (logits.argmax(1) < 3).all()


def test_the_strongest_within_one_standard_error_of_the_best_on_validation_images_is_chosen() -> None:
    # 16 images of two classes; each head is right about so many of them, half of them in either class
    val = Examples(torch.eye(16, dtype=torch.float64), torch.arange(16) % 2)

    def right(count: int) -> LinearHead:
        sure = torch.where(torch.arange(16) < count, 1.0, -1.0).double() * torch.tensor([1.0, -1.0]).repeat(8)
        return LinearHead(torch.stack([sure, -sure]), torch.zeros(2, dtype=torch.float64))

    # the best is 12 of 16: 0.75, with a standard error of √(0.75 · 0.25 / 16) = 0.108, that is 1.7 images
    fits = [right(count) for count in (8, 10, 12, 12)]
    assert choose_head(fits, val) is fits[2]
    fits = [right(count) for count in (8, 12, 14, 16)]  # nothing is below 1 but within 0 of it
    assert choose_head(fits, val) is fits[3]
    fits = [right(count) for count in (8, 12, 10, 13)]  # 12 lie within √(0.8 · 0.2 / 16) = 0.098 of 13, 8 do not
    assert choose_head(fits, val) is fits[1]


def test_a_head_that_takes_more_than_a_vector_is_told_with_the_remedy(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    module = workspace.network.module
    module.forward = lambda x: module.head(module.layer4.conv2.weight.new_zeros(len(x), 2, 80)).mean(1)  # type: ignore
    with pytest.raises(TrialError, match=r"the head head takes inputs of shape \(.*, 2, 80\).*head_start=fresh"):
        finetune(trial(workspace), workspace)

"""What the settings of a training run add to the loop: each part's effect on a real training run, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biotune.config.sections import TrainingConfig
from biotune.schedule.schedule import Schedule
from biotune.training import finetune as loop
from biotune.training.finetune import finetune, predict
from biotune.training.parts import MovingAverage
from biotune.training.workspace import Workspace
from biotune.trial import Trial

MakeWorkspace = Callable[..., Workspace]


def trial(workspace: Workspace, epochs: int = 1, fold: int | None = 0, **more: Any) -> Trial:
    blocks = workspace.network.blocks
    return Trial(Schedule(blocks, (1.0,) * len(blocks)), fold, 1, epochs, workspace.training.base_lr, **more)


class Steps:
    """The network's state after every optimizer step of a training run."""

    def __init__(self, patch: pytest.MonkeyPatch, workspace: Workspace) -> None:
        self.states: list[dict[str, Tensor]] = []
        module = workspace.network.module
        real = torch.optim.Adam.step

        def step(optimizer: torch.optim.Adam, *given: Any) -> Any:
            done = real(optimizer, *given)
            self.states.append({name: value.clone() for name, value in module.state_dict().items()})
            return done

        patch.setattr(torch.optim.Adam, "step", step)


class TestMovingAverage:
    def test_it_is_the_average_by_hand_with_buffers_and_gives_the_weights_back(self) -> None:
        model = nn.BatchNorm1d(1)
        average = MovingAverage(model, 0.75)
        for weight, mean, count in ((1.0, 8.0, 1), (5.0, 0.0, 2), (3.0, 4.0, 3)):
            with torch.no_grad():
                model.weight.fill_(weight)
                model.running_mean.fill_(mean)
                model.num_batches_tracked.fill_(count)
            average.update()
        # 1; 3/4 · 1 + 1/4 · 5 = 2; 3/4 · 2 + 1/4 · 3 = 2.25, and the same of 8, 0 and 4: 8, 6, 5.5
        with average.in_place():
            assert (model.weight.item(), model.running_mean.item()) == (2.25, 5.5)
        assert (model.weight.item(), model.running_mean.item()) == (3.0, 4.0)
        assert model.num_batches_tracked.item() == 3

    def test_its_weights_are_validated_tested_and_kept(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace = make_workspace(ema=0.6, patience=9)
        steps = Steps(monkeypatch, workspace)
        scored: list[dict[str, Tensor]] = []

        def watched(*given: Any) -> Tensor:
            scored.append({name: value.clone() for name, value in workspace.network.module.state_dict().items()})
            return predict(*given)

        monkeypatch.setattr(loop, "predict", watched)
        found = finetune(trial(workspace, epochs=2, test=True), workspace)
        assert len(steps.states) == 8  # 100 images in mini-batches of 32
        for name in (next(iter(workspace.initial)), "head.bias"):
            expected = steps.states[0][name].double()
            averages = []
            for state in steps.states:
                expected = 0.6 * expected + 0.4 * state[name]
                averages.append(expected)
            for epoch in range(2):
                torch.testing.assert_close(scored[epoch][name].double(), averages[4 * epoch + 3], atol=1e-6, rtol=1e-5)
            best = max(range(2), key=lambda epoch: found.result.curve[epoch])
            assert found.state is not None
            torch.testing.assert_close(found.state[name], scored[best][name])
            torch.testing.assert_close(scored[2][name], scored[best][name])  # the test set's predictions

    def test_training_goes_on_from_the_weights_themselves(
        self, make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ends = []
        for ema in (None, 0.9):
            workspace = make_workspace(ema=ema, patience=9)
            with monkeypatch.context() as patch:
                steps = Steps(patch, workspace)
                finetune(trial(workspace, epochs=2), workspace)
            ends.append(steps.states[-1])
        assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())

    def test_a_decay_of_zero_averages_nothing(self, make_workspace: MakeWorkspace) -> None:
        found = [finetune(trial(workspace), workspace) for workspace in (make_workspace(ema=0.0), make_workspace())]
        assert found[0].result.curve == found[1].result.curve
        assert found[0].result.losses == found[1].result.losses


def test_clipped_gradients_have_the_largest_norm_that_is_allowed(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    real = torch.optim.SGD.step

    def step(optimizer: torch.optim.SGD, *given: Any) -> Any:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return real(optimizer, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    found = {}
    for clip in (None, 0.0, 0.05):
        norms.clear()
        workspace = make_workspace(optimizer="sgd", momentum=0.0, lr=1e-3, clip_grad=clip)
        finetune(trial(workspace), workspace)
        found[clip] = list(norms)
    assert min(found[None]) > 0.05
    assert found[0.0] == found[None]
    assert found[0.05] == pytest.approx([0.05] * 4, rel=1e-3)


def test_the_training_loss_is_smoothed_as_torch_does(make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_workspace(label_smoothing=0.3)
    seen: list[float] = []
    forward = nn.CrossEntropyLoss.forward

    def watched(self: nn.CrossEntropyLoss, logits: Tensor, labels: Tensor) -> Tensor:
        loss = forward(self, logits, labels)
        shares = 0.7 * torch.eye(10)[labels] + 0.3 / 10
        assert loss.item() == pytest.approx(-(shares * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-5)
        seen.append(loss.item())
        return loss

    monkeypatch.setattr(nn.CrossEntropyLoss, "forward", watched)
    finetune(trial(workspace), workspace)
    assert len(seen) == 4


def test_decay_spares_normalisation_and_biases_in_a_training_run(make_workspace: MakeWorkspace) -> None:
    """With decay alone, by a learning rate that is large beside a gradient that clipping has made nothing."""
    own = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "weight_decay": 0.5, "clip_grad": 1e-12}
    workspace = make_workspace(**own, decay_norm=False)
    workspace.network = replace(workspace.network, fresh_head=False)
    finetune(trial(workspace), workspace)
    by_cosine = (1 - 0.1 * 0.5) ** 4  # four mini-batches in the first epoch, at the full rate
    for name, module in workspace.network.module.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            start = workspace.initial[f"{name}.{leaf}"]
            kept = 1.0 if isinstance(module, nn.BatchNorm2d) or leaf == "bias" else by_cosine
            torch.testing.assert_close(parameter.detach(), kept * start, atol=1e-6, rtol=1e-5)


def test_one_cycle_changes_the_rates_with_every_mini_batch_and_keeps_their_multiples(
    make_workspace: MakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    real = torch.optim.Adam.step

    def step(optimizer: torch.optim.Adam, *given: Any) -> Any:
        rates.append([group["lr"] for group in optimizer.param_groups])
        return real(optimizer, *given)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    workspace = make_workspace(scheduler="one_cycle", patience=9, lr=1e-2)
    own = trial(workspace, epochs=2)
    finetune(replace(own, schedule=replace(own.schedule, lr_weights=(0.0, 0.5, 1.0, 1.0, 1.0, 4.0))), workspace)
    course = np.array(rates)
    assert course.shape == (8, 5)
    np.testing.assert_allclose(course / course[:, 1:2], np.tile([0.5, 1, 1, 1, 4], (8, 1)), rtol=1e-9)
    assert course[:, 1].max() == pytest.approx(1e-2, rel=0.1)
    assert course[0, 1] == pytest.approx(1e-2 / 25)  # torch's div_factor
    assert len(set(course[:, 1])) == 8


@pytest.mark.parametrize("changed", [{"augment": "trivialaugment"}, {"mixup": 0.2}, {"cutmix": 1.0}], ids=str)
def test_changed_images_go_through_the_whole_network_and_validation_sees_them_as_they_are(
    changed: dict[str, Any], make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    alone = make_workspace()
    settings = replace(alone.training, **changed)
    shared = Workspace.of(alone.network, alone.data, alone.training, alone.device, tmp_path / "scratch", 1.0, final=settings)
    assert shared.features is not None
    module, seen = shared.network.module, list[tuple[bool, list[bool]]]()
    whole = shared.data.whole
    plain = {image.numpy().tobytes() for image in shared.images(np.arange(len(shared.data.pixels))).contiguous()}
    head_only = replace(trial(shared, fold=None), schedule=Schedule(shared.network.blocks, (0.0,) * 5 + (1.0,)))
    finetune(head_only, shared)  # computes what is shared
    handle = module.register_forward_pre_hook(
        lambda _, given: seen.append((module.training, [one.numpy().tobytes() in plain for one in given[0].contiguous()]))
    )
    finetune(head_only, shared)
    assert not seen  # the head's inputs are there already
    finetune(replace(head_only, test=True), shared)
    handle.remove()
    assert all(all(known) for training, known in seen if not training)
    of_training = [known for training, known in seen if training]
    assert sum(map(len, of_training)) == len(whole.train)
    assert np.mean(np.concatenate(of_training)) < 0.6  # a policy leaves some images as they are, and a cut can be empty
    # and no sharing is prepared where every trial changes its images
    assert Workspace.of(alone.network, alone.data, settings, alone.device, tmp_path / "none", 1.0).features is None


class TestFinalTrainingRuns:
    def test_only_trials_with_test_scores_have_their_settings(self, make_workspace: MakeWorkspace) -> None:
        workspace = make_workspace()
        usual = [finetune(trial(workspace, test=test), workspace).result.curve for test in (False, True)]
        assert usual[0] == usual[1]
        workspace.final = replace(workspace.training, label_smoothing=0.9, batch_size=10)
        searched, final = (finetune(trial(workspace, test=test), workspace).result for test in (False, True))
        assert searched.curve == usual[0]
        assert final.losses != searched.losses
        assert final.losses == finetune(trial(workspace, test=True), make_final(make_workspace, workspace.final)).result.losses


def make_final(make_workspace: MakeWorkspace, settings: TrainingConfig) -> Workspace:
    """A workspace in which the settings are those of every trial."""
    return make_workspace(label_smoothing=settings.label_smoothing, batch_size=settings.batch_size)

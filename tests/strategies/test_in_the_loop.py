"""Every strategy through the one training loop, on a few digits: it trains, and leaves nothing behind for the next trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from biotune.config.sections import BackboneConfig, StrategyConfig
from biotune.strategies.registry import STRATEGIES, plans
from biotune.training.finetune import finetune
from biotune.training.size import trainable_parameters
from biotune.training.workspace import Workspace
from biotune.trial import Trial

HOOKED = [name for name, strategy in STRATEGIES.items() if strategy.hooks]


def trial_of(name: str, workspace: Workspace, epochs: int = 2, **more: Any) -> Trial:
    network = workspace.network
    plan = plans(StrategyConfig(name), network.blocks, network.fresh_head)[0]
    lr = more.pop("lr", workspace.training.base_lr)
    return Trial(plan.schedule, None, 3, epochs, lr, test=True, method=plan.method, **more)


@pytest.mark.parametrize("name", HOOKED)
def test_a_strategy_leaves_nothing_behind_for_the_next_training(make_workspace: Callable[..., Any], name: str) -> None:
    workspace = make_workspace(lr=0.003, batch_size=16)
    full = trial_of("full", workspace)
    before = finetune(full, workspace).result
    kinds = [type(module) for module in workspace.network.module.modules()]
    own = finetune(trial_of(name, workspace), workspace).result
    assert own.status == "ok" and len(own.curve) == 2
    assert own.scores != before.scores
    assert [type(module) for module in workspace.network.module.modules()] == kinds
    again = finetune(full, workspace).result
    assert (again.curve, again.scores) == (before.curve, before.scores)


@pytest.mark.parametrize("name", HOOKED)
def test_the_same_trial_twice_is_the_same_to_the_bit(make_workspace: Callable[..., Any], name: str) -> None:
    workspace = make_workspace(lr=0.003, batch_size=16)
    trial = trial_of(name, workspace)
    first, second = finetune(trial, workspace).result, finetune(trial, workspace).result
    assert (first.curve, first.scores) == (second.curve, second.scores)


@pytest.mark.parametrize("name", HOOKED)
def test_an_error_in_mid_training_leaves_the_network_whole(make_workspace: Callable[..., Any], name: str) -> None:
    workspace = make_workspace(lr=0.003, batch_size=16)
    names = list(workspace.network.module.state_dict())
    with pytest.raises(Exception, match="loss became"):
        finetune(trial_of(name, workspace, lr=1e30, epochs=3), workspace)
    assert list(workspace.network.module.state_dict()) == names
    workspace.reset()


def test_the_rate_of_a_trial_takes_the_place_of_the_base_rate(make_workspace: Callable[..., Any]) -> None:
    slow, fast = make_workspace(lr=0.001, batch_size=16), make_workspace(lr=0.01, batch_size=16)
    assert finetune(trial_of("full", slow, lr=0.01), slow).result.curve == finetune(trial_of("full", fast), fast).result.curve


def test_lora_keeps_a_plain_network_that_scores_as_it_did(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(lr=0.01, batch_size=16)
    names = set(workspace.network.module.state_dict())
    trained = finetune(trial_of("lora", workspace), workspace)
    assert trained.state is not None and set(trained.state) == names
    workspace.network.module.load_state_dict(trained.state)
    from biotune.training.finetune import predict

    rows = workspace.data.test
    right = predict(workspace, rows).argmax(1).cpu() == torch.from_numpy(workspace.data.labels[rows])
    assert float(right.double().mean()) == pytest.approx(trained.result.scores["accuracy"])


def test_sizes_count_what_is_trained(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace()
    network = workspace.network
    total = sum(network.parameters.values())
    size = {
        name: trainable_parameters(plans(StrategyConfig(name), network.blocks, True)[0], network, 16)
        for name in ("full", "linear_probe", "auto_rgn", "lora")
    }
    norms = sum(p.numel() for m in network.module.modules() if "Norm" in type(m).__name__ for p in m.parameters(recurse=False))
    assert norms > 0
    assert (size["full"], size["linear_probe"]) == (total, network.parameters["head"])
    assert size["auto_rgn"] == total - norms
    adapters = sum(
        8 * (m.in_channels * m.kernel_size[0] * m.kernel_size[1] + m.out_channels)
        for m in network.module.modules()
        if isinstance(m, torch.nn.Conv2d) and m.groups == 1
    )
    assert size["lora"] == adapters + network.parameters["head"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["swin_t", "vit_b_16", "mobilenet_v3_large", "resnet18"])
@pytest.mark.parametrize("name", HOOKED)
def test_every_strategy_takes_a_step_on_other_networks(backbone: str, name: str) -> None:
    from biotune.backbones.registry import build_network
    from biotune.schedule.param_groups import param_groups
    from biotune.strategies.hooks import TrainingContext
    from biotune.strategies.registry import hooks_of

    network = build_network(BackboneConfig("torchvision", backbone, "none"), 3)
    side = 224 if backbone == "vit_b_16" else 64
    images, labels = torch.rand(4, 3, side, side), torch.tensor([0, 1, 2, 0])
    plan = plans(StrategyConfig(name), network.blocks, True)[0]
    groups = param_groups(network.module, plan.schedule.blocks, plan.schedule.lr_weights, 0.01)

    def losses(epoch: int, batches: int) -> Any:
        for _ in range(batches):
            yield torch.nn.functional.cross_entropy(network.module(images), labels)

    context = TrainingContext(
        network.module, network.blocks, network.head, True, groups, 0.01, 1, plan.method, "eval", losses, lambda: images[:1]
    )
    hooks = hooks_of(context)
    before = [p.detach().clone() for group in hooks.groups for p in group["params"]]
    optimizer = torch.optim.Adam(hooks.groups)
    hooks.before_epoch(0, optimizer)
    network.module.train()
    loss = torch.nn.functional.cross_entropy(network.module(images), labels)
    (loss + hooks.penalty() if hooks.penalty else loss).backward()
    optimizer.step()
    after = [p for group in hooks.groups for p in group["params"]]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    hooks.fold_in()
    assert not any("lora" in path for path in network.module.state_dict())

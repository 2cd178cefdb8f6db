"""What every strategy of the registry promises; a new one gets all these tests by its row there.

Each is trained through an executor on a few digits: finite numbers, exactly the parameters that it counts, and a network that
is as it was for the next trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from biotune.config.sections import StrategyConfig
from biotune.executors.in_process import InProcess
from biotune.schedule.param_groups import param_groups
from biotune.strategies.registry import STRATEGIES, plans
from biotune.training.size import trainable_parameters
from biotune.trial import Trial, TrialResult

EPOCHS, LR = 3, 0.003


def trial_of(plan: Any, seed: int = 3) -> Trial:
    return Trial(schedule=plan.schedule, fold=0, seed=seed, epochs=EPOCHS, test=True, lr=LR, method=plan.method)


def trained(workspace: Any, *trials: Trial) -> list[TrialResult]:
    executor = InProcess(workspace, Path("none"))
    results = executor.run(trials, lambda trial, result: None)
    executor.close()
    return results


@pytest.fixture(scope="module")
def data(load_digits: Callable[..., Any]) -> Any:
    return load_digits(max_per_class=4, max_eval_per_class=4)


@pytest.fixture(params=list(STRATEGIES))
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "lora":
        pytest.importorskip("peft")
    return str(request.param)


@pytest.fixture
def workspace(make_workspace: Callable[..., Any], data: Any) -> Any:
    return make_workspace(data, batch_size=16)


def plans_of(name: str, workspace: Any) -> list[Any]:
    return plans(StrategyConfig(name), workspace.network.blocks, workspace.network.fresh_head)


def test_it_has_a_plan_at_least_and_each_one_trains_something(name: str, workspace: Any) -> None:
    blocks = workspace.network.blocks
    found = plans_of(name, workspace)
    assert found
    assert len({(plan.schedule.key, plan.method) for plan in found}) == len(found), "no plan twice"
    for plan in found:
        assert plan.schedule.blocks == blocks
        assert any(weight > 0 for weight in plan.schedule.lr_weights)
        assert all(math.isfinite(weight) and weight >= 0 for weight in plan.schedule.lr_weights)


def test_its_numbers_are_finite_and_the_same_a_second_time(name: str, workspace: Any) -> None:
    trial = trial_of(plans_of(name, workspace)[0])
    first, second = trained(workspace, trial, trial)
    assert first.status == "ok", first.error
    assert 1 <= len(first.curve) == len(first.losses) <= EPOCHS
    assert all(map(math.isfinite, (*first.losses, *first.curve, *first.scores.values())))
    assert (first.curve, first.losses, first.scores) == (second.curve, second.losses, second.scores)


def test_the_network_has_its_own_modules_again_for_the_next_trial(name: str, workspace: Any) -> None:
    full = trial_of(plans_of("full", workspace)[0])
    kinds = {path: type(module) for path, module in workspace.network.module.named_modules()}
    names = list(workspace.network.module.state_dict())
    before, own, after = trained(workspace, full, trial_of(plans_of(name, workspace)[0], seed=5), full)
    assert own.status == "ok"
    assert {path: type(module) for path, module in workspace.network.module.named_modules()} == kinds
    assert list(workspace.network.module.state_dict()) == names
    assert (before.curve, before.losses, before.scores) == (after.curve, after.losses, after.scores)


def test_a_loss_that_is_no_number_is_a_failed_result_and_leaves_the_network_whole(name: str, workspace: Any) -> None:
    kinds = [type(module) for module in workspace.network.module.modules()]
    plan = plans_of(name, workspace)[0]
    trial = Trial(schedule=plan.schedule, fold=0, seed=3, epochs=EPOCHS, lr=1e38, method=plan.method)
    (result,) = trained(workspace, trial)
    assert result.status == "failed" and "loss became" in str(result.error)
    assert [type(module) for module in workspace.network.module.modules()] == kinds


def test_it_counts_the_parameters_that_it_trains_at_any_time(name: str, workspace: Any) -> None:
    """As many as change while it trains; adapters have parameters of their own, merged in the end, and are tested apart."""
    network = workspace.network
    plan = plans_of(name, workspace)[0]
    count = trainable_parameters(plan, network, 16)
    assert 0 < count <= sum(network.parameters.values())
    if name == "lora":
        return
    if plan.method is None:
        groups = param_groups(network.module, plan.schedule.blocks, plan.schedule.lr_weights, LR)
        assert count == sum(parameter.numel() for group in groups for parameter in group["params"])
    workspace.reset()
    before = {path: value.detach().clone() for path, value in network.module.named_parameters()}
    (result,) = trained(workspace, trial_of(plan))
    assert result.status == "ok"
    changed = sum(
        value.numel()
        for path, value in network.module.named_parameters()
        if not torch.equal(value, before[path]) and path.partition(".")[0] != network.head
    )
    head = network.module.get_submodule(network.head)
    assert changed + sum(parameter.numel() for parameter in head.parameters()) <= count
    if plan.method is None and plan.schedule.complete_from(EPOCHS) == 0:
        assert changed + network.parameters[network.blocks[-1].name] == count

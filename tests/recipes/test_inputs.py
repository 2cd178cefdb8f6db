"""What is handed from the check to the run, and what is remarked on a schedule from elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from biotune.backbones.registry import build_network
from biotune.config.schema import TrainConfig, TrialsConfig
from biotune.config.sections import (
    BackboneConfig,
    DatasetConfig,
    ExecutorConfig,
    StrategyConfig,
    TrainingConfig,
)
from biotune.errors import ConfigError, ScheduleError
from biotune.recipes.inputs import Prepared, plans_to_train, remarks_on
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.plan import Method, Plan
from biotune.schedule.schedule import Schedule
from biotune.schedule.schedule_file import save_text

BLOCKS = (Block("stem", ("stem",)), Block("head", ("head",)))


def config(lr: float = 0.001, weights: str = "default") -> TrainConfig:
    return TrainConfig(
        dataset=DatasetConfig("digits", "digits", max_per_class=3, max_eval_per_class=3),
        backbone=BackboneConfig("biotune", "glyphnet", weights),
        training=TrainingConfig(lr=lr),
        executor=ExecutorConfig("in_process"),
        schedule="found.yaml",
    )


def plan(**header: object) -> Plan:
    return Plan(Schedule(BLOCKS, (0.0, 1.0), header=header))


def test_another_network_and_another_learning_rate_are_remarked_on() -> None:
    found = plan(backbone="resnet18", weights="default", base_lr=0.01)
    assert remarks_on(config(), [found]) == [
        "remark: schedule=found.yaml was found with backbone.name=resnet18 and is used with glyphnet.",
        "remark: schedule=found.yaml was found with training.lr=0.01 and is used with 0.001.",
    ]


def test_nothing_is_remarked_where_nothing_differs_or_is_known() -> None:
    assert remarks_on(config(), [plan(backbone="glyphnet", weights="default", base_lr=0.001), plan()]) == []


def test_an_executor_that_is_not_installed_is_named_before_anything_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biotune.executors.ray_pool.find_spec", lambda package: None)
    settings = replace(config(), executor=ExecutorConfig("ray"), backbone=BackboneConfig("biotune", "nothing"))
    with pytest.raises(ConfigError, match="^executor=ray: needs the extra 'ray'"):
        Prepared().take(settings, lambda *counts: None)


def test_a_file_that_starts_from_the_probe_does_not_go_with_a_kept_head(tmp_path: Path) -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    file = tmp_path / "found.yaml"
    file.write_text(save_text(Schedule(network.blocks, (1.0,) * 6, head_start="probe"), 0.001, {}))
    settings = replace(config(), schedule=str(file), strategy=StrategyConfig("schedule"))
    assert plans_to_train(settings, network)[0].schedule.head_start == "probe"
    with pytest.raises(ScheduleError, match=r"found.yaml: says head_start: probe, which needs backbone.head=new"):
        plans_to_train(settings, replace(network, fresh_head=False))


def test_a_file_that_names_a_strategy_is_trained_with_its_hooks(tmp_path: Path) -> None:
    network = build_network(BackboneConfig("biotune", "glyphnet"), 10)
    file = tmp_path / "found.yaml"
    settings = replace(config(), schedule=str(file), strategy=StrategyConfig("schedule"))
    schedule = Schedule(network.blocks, (1.0,) * 6)
    file.write_text(save_text(schedule, 0.003, {"strategy": "lp_ft"}))
    assert plans_to_train(settings, network) == [Plan(schedule, Method("lp_ft"))]
    for wrong in ("lp_tf", "[lp_ft]", "{}"):
        file.write_text(save_text(schedule, 0.003, {}).replace("blocks:", f"strategy: {wrong}\nblocks:", 1))
        with pytest.raises(ScheduleError, match="found.yaml: strategy is .*none of biotune's"):
            plans_to_train(settings, network)


def test_what_the_check_has_built_is_taken_once_and_its_images_again() -> None:
    prepared = Prepared()
    settings = TrialsConfig(dataset=config().dataset, backbone=config().backbone, executor=ExecutorConfig("in_process"))
    prepared.check(settings, SILENCE.decoding)
    first, second = (prepared.take(settings, SILENCE.decoding) for _ in range(2))
    assert first.data is second.data
    assert first.network is not second.network

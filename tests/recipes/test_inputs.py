"""What is handed from the check to the run, and what is remarked on a schedule from elsewhere."""

from __future__ import annotations

from biotune.config.schema import TrainConfig, TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.recipes.inputs import Prepared, remarks_on
from biotune.recipes.progress import SILENCE
from biotune.schedule.block import Block
from biotune.schedule.plan import Plan
from biotune.schedule.schedule import Schedule

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


def test_what_the_check_has_built_is_taken_once_and_its_images_again() -> None:
    prepared = Prepared()
    settings = TrialsConfig(dataset=config().dataset, backbone=config().backbone, executor=ExecutorConfig("in_process"))
    prepared.check(settings, SILENCE.decoding)
    first, second = (prepared.take(settings, SILENCE.decoding) for _ in range(2))
    assert first.data is second.data
    assert first.network is not second.network

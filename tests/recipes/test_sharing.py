"""What is found out before a run about sharing what frozen blocks compute: a remark, or one line where views need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from biotune.backbones.network import Network
from biotune.backbones.registry import build_network
from biotune.config.schema import TrainConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, FeaturesConfig, TrainingConfig
from biotune.datasets.data import Data
from biotune.errors import ConfigError
from biotune.recipes.sharing import check_views, remarks_on_sharing

CPU = torch.device("cpu")


def config(max_gb: float = 8.0, views: int | None = None, **training: str) -> TrainConfig:
    return TrainConfig(
        dataset=DatasetConfig("digits", "digits"),
        backbone=BackboneConfig("biotune", "glyphnet"),
        training=TrainingConfig(**training),
        features=FeaturesConfig(max_gb, views),
        executor=ExecutorConfig("in_process"),
    )


def no_chain() -> Network:
    return replace(build_network(BackboneConfig("biotune", "glyphnet"), 10), steps=None)


def test_a_network_of_which_nothing_can_be_shared_is_remarked_on_and_others_are_not() -> None:
    network = no_chain()
    assert remarks_on_sharing(network, config()) == ()
    own = network.module.forward
    network.module.forward = lambda x: own(x) + x.mean()
    (remark,) = remarks_on_sharing(network, config())
    assert remark.startswith("remark: glyphnet: training runs share nothing of what frozen blocks compute")
    assert remarks_on_sharing(network, config(max_gb=0)) == ()
    assert remarks_on_sharing(network, config(augment="standard")) == ()


@pytest.mark.parametrize("chain", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_room_for_views_is_that_of_the_smallest_boundary(chain: bool, precision: str, load_digits: Callable[..., Data]) -> None:
    data = load_digits()
    network = replace(no_chain(), steps=build_network(BackboneConfig("biotune", "glyphnet"), 10).steps) if chain else no_chain()
    # by hand: 80 numbers in front of the head, or 320 in front of its pooling, which is no module; for each image for
    # training or validation and its 4 views
    size = (80 if chain else 320) * (4 if precision == "fp32" else 2) * (len(data.whole.train) + len(data.whole.val)) * 5
    enough = config(size / 1e9, 4, augment="standard", precision=precision)
    check_views(network, enough, data, CPU)
    with pytest.raises(ConfigError, match=r"^features.views=4: activations of 400 images .* more than features.max_gb="):
        check_views(network, config((size - 1) / 1e9, 4, augment="standard", precision=precision), data, CPU)


def test_views_are_refused_where_a_network_reads_the_images_behind_its_frozen_blocks(
    load_digits: Callable[..., Data],
) -> None:
    network = no_chain()
    own = network.module.forward
    network.module.forward = lambda x: own(x) + x.mean()
    with pytest.raises(ConfigError, match=r"^features.views=4: glyphnet reads more than .* Leave features.views out"):
        check_views(network, config(views=4, augment="standard"), load_digits(), CPU)
    check_views(network, config(augment="standard"), load_digits(), CPU)

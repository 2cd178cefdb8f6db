"""Whether training runs can share what frozen blocks compute, found out before the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from biotune.backbones.chain import Passage, link
from biotune.backbones.network import Network
from biotune.backbones.replay import replay_of
from biotune.config.key import height_and_width
from biotune.config.schema import TrainConfig, TrialsConfig
from biotune.datasets.data import Data
from biotune.errors import ConfigError
from biotune.schedule.plan import Plan
from biotune.training.activations import GB, choose_boundaries, first_moving_block, measure_boundaries
from biotune.training.device import autocast_type


def remarks_on_sharing(network: Network, config: TrialsConfig) -> tuple[str, ...]:
    """A remark where training runs of the head alone cannot share what the frozen blocks compute, though they might.

    Tried on a network that is no chain of its blocks, with noise: each worker finds and proves by itself what can be shared.
    """
    if network.steps is not None or not config.features.max_gb or config.training.changes_images:
        return ()
    if len(network.blocks) == 1 or _entered_before_the_head(network, _noise(network, config)) is not None:
        return ()
    return (
        f"remark: {config.backbone.name}: training runs share nothing of what frozen blocks compute, as the network reads more "
        "than their outputs, or they differ each time. All is computed anew in every training run.",
    )


def check_views(network: Network, config: TrialsConfig, data: Data, device: torch.device) -> None:
    """Check that what frozen blocks compute of the views of `features.views` can be kept, and that there is room for it.

    Args:
        network: The network with its initial weights, on the CPU.
        config: The command's config.
        data: The dataset.
        device: The device on which networks are trained, which decides their precision.

    Raises:
        ConfigError: It cannot, or there is none.
    """
    if config.features.views is None:
        return
    said = f"features.views={config.features.views}"
    batches = _noise(network, config)
    dtype = autocast_type(config.training.precision, device, network.module)
    autocast: AbstractContextManager[Any] = nullcontext() if dtype is None else torch.autocast("cpu", dtype)
    passage = _entered_before_the_head(network, batches)
    limit = first_moving_block(network.module, network.blocks, config.training.frozen_norm)
    before = network.module.training
    network.module.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]), autocast:
        found = measure_boundaries(passage, batches[0]) if passage is not None else ()
    network.module.train(before)
    usable = [boundary for boundary in found if boundary.block <= limit]
    if not found:
        raise ConfigError(
            f"{said}: {config.backbone.name} reads more than what its frozen blocks return, or that differs each time, so that "
            "nothing of a view can be kept. Leave features.views out."
        )
    if not usable:
        raise ConfigError(
            f"{said}: with training.frozen_norm=train what frozen blocks return changes, so that none of it can be kept. "
            "Leave features.views out, or give training.frozen_norm=eval."
        )
    images = len(set(data.whole.train.tolist()) | set(data.whole.val.tolist()))
    rows = images * (1 + config.features.views)
    if not choose_boundaries(usable, rows, config.features.max_gb * GB):
        size = min(boundary.size(rows) for boundary in usable) / GB
        raise ConfigError(
            f"{said}: activations of {images:,} images and their views take {size:.3g} GB, more than "
            f"features.max_gb={config.features.max_gb:g}. Give fewer views, or more room."
        )


def check_strategy_for_views(config: TrainConfig, plans: Sequence[Plan]) -> None:
    """Check that a strategy freezes the first block, without which nothing can be kept of views.

    Args:
        config: The command's config.
        plans: The plans that it chooses from.

    Raises:
        ConfigError: There are views, and every plan trains the first block from the first epoch.
    """
    if config.features.views is None:
        return
    if all(plan.schedule.trained_in(0, config.training.epochs)[0] for plan in plans):
        raise ConfigError(
            f"features.views={config.features.views}: strategy={config.strategy.name} trains the first block, so that nothing "
            "of a view can be kept. Leave features.views out, or freeze the first blocks."
        )


def _noise(network: Network, config: TrialsConfig) -> list[Tensor]:
    height, width = height_and_width(config.dataset.sides or network.preprocessing.crop)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 3, height, width, generator=generator) for count in (2, 3)]


def _entered_before_the_head(network: Network, batches: Sequence[Tensor]) -> Passage | None:
    """The network as a pass that can begin in front of its head, or None if it cannot."""
    if network.steps is not None:
        return link(network.module, network.blocks, network.steps)
    last = len(network.blocks) - 1
    return replay_of(network.module, network.blocks, batches, nullcontext, last, shallowest=last) if last else None

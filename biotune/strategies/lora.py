"""LoRA with the peft library: low-rank adapters for every convolution and linear layer; the head is trained fully.

Source: Hu et al., *LoRA: low-rank adaptation of large language models*, ICLR 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from biotune.errors import ConfigError
from biotune.schedule.block_parameters import block_parameters
from biotune.schedule.freezing import freeze
from biotune.strategies.hooks import Groups, Hooks, TrainingContext

_KINDS = (nn.Conv2d, nn.Linear)


def hooks(context: TrainingContext) -> Hooks:
    """Insert adapters into the network in place; at the end they are merged and the network's own modules restored."""
    head = block_parameters(context.model, context.blocks)[context.blocks[-1].name]
    freeze(context.model, context.blocks, [False] * (len(context.blocks) - 1) + [True], "eval")
    insert(context.model, context.example(), context.blocks[-1].modules, int(context.method["rank"]), context.method["scale"])
    adapters = [p for name, p in context.model.named_parameters() if ".lora_" in name]
    groups: Groups = [
        {"params": adapters, "lr": context.lr, "name": "adapters"},
        {"params": [parameter for _, parameter in head], "lr": context.lr, "name": context.blocks[-1].name},
    ]
    return Hooks(groups, fold_in=lambda: remove(context.model, merged=True), undo=lambda: remove(context.model, merged=False))


def insert(model: nn.Module, example: Tensor, head: tuple[str, ...], rank: int, scale: float) -> None:
    """Add adapters to every ungrouped convolution and linear layer outside the head that is called as a module.

    A layer then computes W x + (scale / rank) · B A x (Hu et al., section 4.1), with A drawn at random and B zero. The
    adapters become trainable, and trainable parameters stay so.

    Args:
        model: The network; changed in place.
        example: (N, 3, H, W) normalised float images on the network's device, N small.
        head: Paths of the head's modules.
        rank: r, the rank of B A.
        scale: LoRA's α, which is divided by the rank.

    Raises:
        ConfigError: peft is not installed.
    """
    try:
        import peft
    except ImportError:
        raise ConfigError("strategy=lora: needs the peft library. Install it with: pip install 'biotune[lora]'.") from None
    names = adaptable(model, example, head)
    pattern = "|".join(re.escape(name) for name in names)
    config = peft.LoraConfig(r=rank, lora_alpha=scale, target_modules=f"({pattern})")  # type: ignore[arg-type]
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    peft.inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        # peft freezes everything else, the head too
        parameter.requires_grad_(".lora_" in name or id(parameter) in trained)


def adaptable(model: nn.Module, example: Tensor, head: tuple[str, ...]) -> list[str]:
    """Paths of the layers that take an adapter: those that are called during a forward pass.

    Layers whose weights are passed to a function, as in attention layers, are never called; peft rejects grouped convolutions.

    Args:
        model: The network; it is not changed.
        example: (N, 3, H, W) normalised float images on the network's device, N small.
        head: Paths of the head's modules, which take none.

    Returns:
        Dotted paths in the order of their first calls.
    """
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, _KINDS)
        and getattr(module, "groups", 1) == 1
        and not any(name == path or name.startswith(f"{path}.") for path in head)
    ]
    before = model.training
    model.eval()
    with torch.no_grad():
        model(example)
    model.train(before)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(called))


def remove(model: nn.Module, merged: bool) -> None:
    """Give the network its own layers back, with the adapters added to their weights or without them."""
    for parent, name, layer in list(_adapted(model)):
        if merged:
            layer.merge()
        setattr(parent, name, layer.get_base_layer())
    model.__dict__.pop("peft_config", None)  # otherwise peft would treat the next adapters as additional ones


def _adapted(model: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Every layer with adapters, with its parent and its name there."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, BaseTunerLayer):
                yield parent, name, child

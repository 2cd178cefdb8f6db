"""Stochastic depth (drop path): the layers of a network that skip residual branches in training, and their rates.

Source: Huang et al., *Deep networks with stochastic depth*, ECCV 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

_RATE_OF = {"StochasticDepth": "p", "DropPath": "drop_prob"}  # the attribute that holds the rate: torchvision's, timm's


def drop_rates(module: nn.Module) -> dict[str, float]:
    """The rate of every layer of stochastic depth by its path, in [0, 1]; empty for a network without any."""
    return {
        path: float(getattr(part, _RATE_OF[type(part).__name__]) or 0.0)
        for path, part in module.named_modules()
        if type(part).__name__ in _RATE_OF
    }


@dataclass(frozen=True)
class DropPath:
    """The rates of a network's layers, which rise over its depth as its library lets them.

    Attributes:
        own: The largest rate that the network has without a setting.
        shares: For each layer's path its rate as a share of the largest, in [0, 1].
    """

    own: float
    shares: dict[str, float]

    def set(self, module: nn.Module, largest: float | None) -> None:
        """Give the network's layers their rates.

        Args:
            module: The network.
            largest: The largest rate; None gives the network's own.
        """
        for path, share in self.shares.items():
            part = module.get_submodule(path)
            setattr(part, _RATE_OF[type(part).__name__], share * (self.own if largest is None else largest))

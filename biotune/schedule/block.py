"""A network's blocks: what one gene stands for. Knows nothing of networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """One gene's worth of a network.

    Attributes:
        name: Short name, unique in its network (`stem`, `layer1`, `head`).
        modules: Dotted paths of the modules or single parameters it consists of.
    """

    name: str
    modules: tuple[str, ...]

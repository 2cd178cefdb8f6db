"""A block, the part of a network that one gene stands for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """The part of a network that one gene stands for.

    Attributes:
        name: Short name, unique in its network (`stem`, `layer1`, `head`).
        modules: Dotted paths of its modules or single parameters.
    """

    name: str
    modules: tuple[str, ...]

"""A block, the part of a network that one gene stands for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """The part of a network that one gene stands for.

    Attributes:
        name: Short name, unique in its network (`stem`, `layer1`, `head`).
        modules: Dotted paths of its modules or single parameters.
        parameters: Number of its parameters where it is known; ignored in comparisons.
    """

    name: str
    modules: tuple[str, ...]
    parameters: int | None = field(default=None, compare=False)

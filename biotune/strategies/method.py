"""What a trial says of a way of training that is more than a layer schedule: plain values, so that any worker can take it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A way of training that needs hooks on the training loop.

    Attributes:
        name: Name of the strategy whose hooks are meant.
        settings: Its settings by name, in a fixed order.
    """

    name: str
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """What makes two methods the same training."""
        return f"{self.name}({','.join(f'{name}={value!r}' for name, value in self.settings)})"

    def __getitem__(self, name: str) -> float:
        """The setting of a name."""
        return dict(self.settings)[name]

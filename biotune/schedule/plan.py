"""How a network is to be trained: a layer schedule, and the method whose hooks reach into the training loop, if one does."""

from __future__ import annotations

from dataclasses import dataclass

from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class Plan:
    """One way in which a strategy would train.

    Attributes:
        schedule: What is trained at which multiple of the base rate; for a method with hooks, what may be trained at all.
        method: Names its hooks; None where the schedule is all there is.
    """

    schedule: Schedule
    method: Method | None = None


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

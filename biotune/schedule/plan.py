"""A training plan: a layer schedule, and optionally a method with hooks on the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from biotune.schedule.schedule import Schedule


@dataclass(frozen=True)
class Plan:
    """One way of training that a strategy proposes.

    Attributes:
        schedule: The trained blocks and their multiples of the base learning rate; for a method with hooks, the blocks that may
            be trained.
        method: The method with hooks; None where the schedule is the whole plan.
    """

    schedule: Schedule
    method: Method | None = None


@dataclass(frozen=True)
class Method:
    """A fine-tuning method that needs hooks on the training loop.

    Attributes:
        name: Name of the strategy with the hooks.
        settings: Its settings by name, in a fixed order.
    """

    name: str
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """The canonical key: equal for methods that train in the same way."""
        return f"{self.name}({','.join(f'{name}={value!r}' for name, value in self.settings)})"

    def __getitem__(self, name: str) -> float:
        """Return the setting with a name."""
        return dict(self.settings)[name]

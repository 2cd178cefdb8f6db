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
        lr_factor: Multiple of the base learning rate at which it is trained.
    """

    schedule: Schedule
    method: Method | None = None
    lr_factor: float = 1.0

    def lr(self, base_lr: float) -> float:
        """Return the λ_0 of its trials.

        Args:
            base_lr: The λ_0 that `lr_factor` multiplies.
        """
        return base_lr if self.lr_factor == 1 else base_lr * self.lr_factor


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

"""A toy network with a stem, a normalised middle and a head, and trainings on made-up images."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from biotune.schedule.block import Block
from biotune.schedule.param_groups import param_groups
from biotune.schedule.plan import Method
from biotune.strategies.hooks import Hooks, TrainingContext
from biotune.strategies.registry import hooks_of

BLOCKS = (Block("stem", ("0",)), Block("middle", ("1", "2")), Block("head", ("5",)))


@pytest.fixture
def toy() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 4, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(4, 2),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.rand((8, 3, 6, 6), generator=torch.Generator().manual_seed(1))


Stage = Callable[..., tuple[TrainingContext, Hooks]]


@pytest.fixture
def stage(toy: nn.Sequential, images: Tensor) -> Stage:
    """Sets a strategy up on the toy network."""

    def make(name: str, epochs: int = 6, fresh_head: bool = True, **settings: float) -> tuple[TrainingContext, Hooks]:
        groups = param_groups(toy, BLOCKS, (1.0, 1.0, 1.0), 0.1)
        labels = torch.tensor([0, 1] * 4)

        def losses(epoch: int, batches: int) -> Iterator[Tensor]:
            toy.train()
            for number in range(batches):
                rows = slice(2 * number, 2 * number + 4)
                yield nn.functional.cross_entropy(toy(images[rows]), labels[rows])

        method = Method(name, tuple(settings.items()))
        context = TrainingContext(toy, BLOCKS, "5", fresh_head, groups, 0.1, epochs, method, "eval", losses, lambda: images[:2])
        return context, hooks_of(context)

    return make


@pytest.fixture
def moved(toy: nn.Sequential, images: Tensor) -> Callable[..., set[str]]:
    """Makes one optimizer step after a preparation, and tells which blocks' parameters changed by it."""
    blocks = {"0": "stem", "1": "middle", "2": "middle", "5": "head"}

    def step(optimizer: torch.optim.Optimizer, prepare: Callable[[], None]) -> set[str]:
        before = {name: value.clone() for name, value in toy.state_dict().items()}
        prepare()
        toy.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(toy(images), torch.tensor([0, 1] * 4)).backward()
        optimizer.step()
        return {blocks[name[0]] for name, value in toy.state_dict().items() if not torch.equal(value, before[name])}

    return step

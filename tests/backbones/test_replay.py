"""Networks that are no chain begin behind their frozen blocks: the same logits, from what the rest of the network reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from biotune.backbones.replay import Replay, replay_of
from biotune.schedule.block import Block

BLOCKS = (Block("first", ("a",)), Block("second", ("b", "scale")), Block("head", ("head",)))


class Plain(nn.Module):
    """Two layers, a parameter of its own and a head; subclasses change what is done between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(torch.relu(self.a(x)) + 1).mul(self.scale).mean((2, 3)))


class Skip(Plain):
    """The head reads the first layer too."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.a(x)
        return self.head((self.b(first) * self.scale + first).mean((2, 3)))


class ReadsImages(Plain):
    """The head reads the images."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x)).mean((2, 3)) * self.scale + x.mean((1, 2, 3))[:, None])


class InPlace(Plain):
    """What a layer returned is changed in place by the network."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).mul_(3)).relu_().mul(self.scale).mean((2, 3)))


class InPlaceSkip(Plain):
    """What the head reads of the first layer is changed in place before the second one is called."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.a(x)
        second = self.b(first.mul_(3))
        return self.head((second * self.scale + first).mean((2, 3)))


class Nested(Plain):
    """Both layers are called by a module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(self.a, nn.ReLU(), self.b)
        del self.a, self.b

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mul(self.scale).mean((2, 3)))


class Evaluates(Plain):
    """In evaluation the head reads the images, in a way that hides what is no number."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if self.training else logits + (x > 0).float().mean()


class Twice(Plain):
    """The second layer is called twice."""

    def forward(self, x: Tensor) -> Tensor:
        once = self.b(self.a(x))
        return self.head((self.b(once) + once).mul(self.scale).mean((2, 3)))


class Noisy(Plain):
    """Dropout between the first layers, of no block, changes what the second one returns."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(nn.functional.dropout(self.a(x), 0.5, self.training)).mul(self.scale).mean((2, 3)))


class NoisyHead(Plain):
    """Dropout in front of the head."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.b(self.a(x)).mul(self.scale).mean((2, 3))
        return self.head(nn.functional.dropout(pooled, 0.5, self.training))


class Normed(Plain):
    """A normalisation layer of no block, whose statistics are those of the mini-batch in training."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x))).mul(self.scale).mean((2, 3)))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], int]:
        return self.one(x), {"other": self.other(x)}, 3


class Several(Plain):
    """A layer returns two tensors and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.a = Pair()

    def forward(self, x: Tensor) -> Tensor:
        one, more, factor = self.a(x)
        return self.head(self.b(one + factor * more["other"]).mul(self.scale).mean((2, 3)))


class Windows(Plain):
    """Layers compute windows, five of each image: those of an image one after the other, or those of one place."""

    by_image = True

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unfold(2, 1, 1).movedim(2, 1 if self.by_image else 0)
        first = self.a(parts.flatten(0, 1))
        second = self.b(first).mul(self.scale).mean((2, 3))
        shape = (len(x), 5) if self.by_image else (5, len(x))
        return self.head(second.unflatten(0, shape).mean(1 if self.by_image else 0))


class WindowsByPlace(Windows):
    by_image = False


class Rounds(Plain):
    """A layer returns integers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.pick(x).float()).mul(self.scale).mean((2, 3)))

    def __init__(self) -> None:
        super().__init__()
        self.a.register_forward_hook(lambda module, inputs, output: (output * 10).long())

    def pick(self, x: Tensor) -> Tensor:
        return self.a(x)


class TrainedBefore(Plain):
    """What the head's own parameter changes goes through a layer that can be frozen."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x) * self.scale).mean((2, 3)))


class Pooled(Plain):
    """Pooling of no block in front of the head."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.b(self.a(x)) * self.scale))


class Breaks(Plain):
    """A network that does not take outputs for granted."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.any():
            raise ValueError("an image is black")
        return super().forward(x)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))


def found(module: nn.Module, deepest: int = 2, frozen_norm: str = "eval", blocks: Sequence[Block] = BLOCKS) -> Replay | None:
    return replay_of(module, blocks, [images(2), images(3, 1)], nullcontext, deepest, frozen_norm)


def needed(replay: Replay, block: int) -> list[str]:
    return [one.call.path for one in replay.cuts[block].needed]


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "first", "second"),
    [
        (Plain, ["a"], ["b"]),
        (Skip, ["a"], ["a", "b"]),
        (InPlace, ["a"], ["b"]),
        (InPlaceSkip, ["a"], ["a", "b"]),
        (Twice, ["a"], ["b", "b"]),
        (NoisyHead, ["a"], ["b"]),
        (Several, ["a", "a"], ["b"]),
        (Pooled, ["a"], ["pool.1"]),
        (Windows, ["a"], ["b"]),
    ],
)
def test_what_the_rest_reads_is_kept_and_gives_the_same_logits(
    network: type[nn.Module], first: list[str], second: list[str]
) -> None:
    module = network().eval()
    replay = found(module)
    assert replay is not None and replay.stops == ((1, 1), (2, 2))
    assert [needed(replay, 1), needed(replay, 2)] == [first, second]
    batch = images(7, 2)
    expected = module(batch)
    for block in (1, 2):
        kept = replay.forward(batch, 0, block)
        torch.testing.assert_close(replay.forward(kept, block), expected)
        assert not torch.allclose(replay.forward(kept.flip(0), block), expected)
    # from the first cut to the second, without the images
    torch.testing.assert_close(replay.forward(replay.forward(replay.forward(batch, 0, 1), 1, 2), 2), expected)
    torch.testing.assert_close(module(batch), expected)


def test_gradients_behind_the_cut_are_those_of_the_whole_pass() -> None:
    module = Skip()
    replay = found(module)
    assert replay is not None
    batch = images(4)
    gradients = []
    for run in (lambda: module(batch), lambda: replay.forward(replay.forward(batch, 0, 1).detach(), 1)):
        module.zero_grad()
        run().square().sum().backward()
        gradients.append([part.grad.clone() for part in (module.b.weight, module.scale, module.head.weight)])
    for own, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize(
    ("network", "stops"),
    [
        (ReadsImages, None),  # in front of every block the images are needed
        (Noisy, ((1, 1),)),  # what the second layer returns differs each time
        (Normed, ((1, 1),)),
        (WindowsByPlace, None),  # no row holds what belongs to one image
        (Rounds, None),  # integers are not kept
        (Breaks, None),
        (Evaluates, None),
    ],
)
def test_a_cut_that_changes_training_is_not_made(network: type[nn.Module], stops: tuple[tuple[int, int], ...] | None) -> None:
    replay = found(network())
    assert (replay and replay.stops) == stops


@pytest.mark.parametrize("network", [TrainedBefore, Pooled])
def test_what_depends_on_a_trained_parameter_is_not_kept(network: type[nn.Module]) -> None:
    """Where the scale belongs to the head, which trains it, no cut in front of the head may hold what it has changed."""
    module = network()
    replay = found(module, blocks=(Block("first", ("a",)), Block("second", ("b",)), Block("head", ("head", "scale"))))
    assert replay is not None
    assert [needed(replay, block) for block in replay.cuts] == ([["a"]] if network is TrainedBefore else [["a"], ["b"]])
    batch = images(4)
    for block in replay.cuts:
        gradients = []
        for run in (lambda: module(batch), lambda block=block: replay.forward(replay.forward(batch, 0, block).detach(), block)):
            module.zero_grad()
            run().square().sum().backward()
            gradients.append(module.scale.grad.clone())
        torch.testing.assert_close(*gradients)


def test_what_a_network_raises_meanwhile_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert found(Breaks()) is None
    assert caplog.messages == ["no activations of frozen blocks are shared: ValueError: an image is black"]


def test_frozen_norm_layers_whose_statistics_move_allow_no_cut_behind_them() -> None:
    class Own(Normed):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

    blocks = (Block("first", ("a",)), Block("second", ("norm", "b", "scale")), Block("head", ("head",)))
    batches = [images(2), images(3, 1)]
    held, moving = (replay_of(Own(), blocks, batches, nullcontext, 2, frozen_norm) for frozen_norm in ("eval", "train"))
    assert held is not None and held.stops == ((1, 1), (2, 2))
    assert moving is not None and moving.stops == ((1, 1),)


def test_a_module_whose_parts_are_all_frozen_is_not_entered() -> None:
    blocks = (Block("first", ("body.0",)), Block("second", ("body.2", "scale")), Block("head", ("head",)))
    replay = replay_of(Nested(), blocks, [images(2), images(3, 1)], nullcontext, 2)
    assert replay is not None
    assert [[call.path for call in replay.cuts[block].calls] for block in (1, 2)] == [["body.0", "body.1"], ["body"]]


def test_no_cut_is_made_behind_the_deepest_that_is_asked_for() -> None:
    replay = found(Plain(), deepest=1)
    assert replay is not None and replay.stops == ((1, 1),)


def test_the_network_is_left_as_it_was() -> None:
    module = Normed().train()
    module.b.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    replay = found(module)
    assert replay is not None
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    replay.forward(replay.forward(images(2), 0, 1), 1)
    assert not any("forward" in vars(part) or part._forward_hooks or part._forward_pre_hooks for part in module.modules())

"""The rule behind `biotune suggest`: a schedule from earlier schedules, relative gradient norms and the number of images.

Knows neither torch nor folders; docs/how-to/suggest.md states the rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from biotune.schedule.block import Block
from biotune.schedule.schedule import FRESH, PROBE, TOGETHER, Schedule

HEAD_ALONE = 5  # with fewer images a class, the gradients' vote is for the head alone
RATE = 3.0  # geometric mean of the learning-rate weights that gradients give; the head's weight
SMALLEST, LARGEST = 0.1, 10.0  # of these weights
OTHER_NETWORK, UNKNOWN_SIZE = 0.5, 0.5  # factors of the weight of an earlier schedule
_LEAST = 1e-3  # of the largest gradient; a block without any has this much
GRADIENTS = 0.5  # the weight of the gradients beside earlier schedules; one of the same network and size has 1


@dataclass(frozen=True)
class Earlier:
    """A schedule that an earlier search found, matched to the blocks.

    Attributes:
        schedule: The schedule.
        same_network: Whether it was found with the same network.
        images: The number of training images that it was found with; None where it is not known.
    """

    schedule: Schedule
    same_network: bool
    images: int | None

    def weight(self, images: int) -> float:
        """How much it counts with so many training images, in (0, 1]: less for another network, and for another number."""
        size = UNKNOWN_SIZE if not self.images else min(self.images, images) / max(self.images, images)
        return size * (1.0 if self.same_network else OTHER_NETWORK)


@dataclass(frozen=True)
class Advice:
    """What is suggested for one block.

    Attributes:
        weight: The multiple of the base learning rate; 0 for frozen.
        share: The weighted share of the votes that train it.
        factor: How far the weights that the votes give scatter, as a factor of at least 1; None with a single one.
        reason: Why, with numbers.
    """

    weight: float
    share: float
    factor: float | None
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """A schedule that is suggested, block by block.

    Attributes:
        schedule: The schedule.
        advice: One per block.
        certainty: How sure it is, in a sentence.
        tried: What training once with it came to beside the linear probe; None where that was not tried.
    """

    schedule: Schedule
    advice: tuple[Advice, ...]
    certainty: str
    tried: Tried | None = None


@dataclass(frozen=True)
class Tried:
    """Validation macro accuracy of one training run with what was suggested first, and of one of the linear probe."""

    first: float
    probe: float


def suggested(
    blocks: Sequence[Block],
    gradients: NDArray[np.float64],
    images: int,
    classes: int,
    earlier: Sequence[Earlier] = (),
    fresh_head: bool = True,
) -> Suggestion:
    """Suggest a schedule.

    A block is trained where at least half of the weighted votes train it; its learning-rate weight is the weighted geometric
    mean of the weights that these votes give. The head is always trained.

    Args:
        blocks: The network's blocks in forward order, the head last.
        gradients: (mini-batches, blocks) relative gradient norms.
        images: The number of training images.
        classes: The number of classes.
        earlier: Schedules that earlier searches found.
        fresh_head: Whether the head is new.
    """
    ratios = _ratios(gradients.mean(axis=0))
    own = _by_gradients(ratios, images / classes)
    votes = [(GRADIENTS if earlier else 1.0, own), *((one.weight(images), one.schedule.lr_weights) for one in earlier)]
    advice = tuple(_advised(place, votes, ratios, images / classes, len(blocks)) for place in range(len(blocks)))
    best = max(earlier, key=lambda one: one.weight(images), default=None)
    if best is not None:
        unfreezing, start = best.schedule.unfreezing, best.schedule.head_start
    else:
        unfreezing, start = TOGETHER, FRESH if any(one.weight for one in advice[:-1]) else PROBE
    schedule = Schedule(
        tuple(blocks),
        tuple(one.weight for one in advice),
        unfreezing=unfreezing,
        head_start=start if fresh_head else FRESH,
    )
    return Suggestion(schedule, advice, _certainty(advice, earlier, gradients))


def probe_schedule(blocks: Sequence[Block]) -> Schedule:
    """The linear probe as a schedule: the head alone, from where the probe is fitted."""
    return Schedule(tuple(blocks), (*(0.0 for _ in blocks[:-1]), 1.0), head_start=PROBE)


def or_probe(found: Suggestion, tried: Tried) -> Suggestion:
    """The suggestion, or the linear probe where that validates as well.

    Args:
        found: What votes suggest.
        tried: What both came to.
    """
    scores = f"trained once with it, validation macro accuracy is {tried.first:.3f}; that of the linear probe {tried.probe:.3f}"
    if tried.first > tried.probe and not math.isclose(tried.first, tried.probe):  # equal scores differ in the last digit
        return replace(found, certainty=f"{found.certainty} Tried: {scores}.", tried=tried)
    frozen = tuple(
        replace(one, weight=0.0, factor=None, reason=f"{one.reason}; the linear probe is as good") for one in found.advice[:-1]
    )
    head = replace(found.advice[-1], weight=1.0, factor=None)
    said = f"{found.certainty} The linear probe is suggested instead of what votes say: {scores}."
    return Suggestion(probe_schedule(found.schedule.blocks), (*frozen, head), said, tried)


def _ratios(means: NDArray[np.float64]) -> list[float]:
    """Relative gradient norms over the largest of those before the head; 1 for the head."""
    body = means[:-1]
    largest = float(body.max()) if len(body) else 0.0
    return [*(float(mean) / largest if largest > 0 else 0.0 for mean in body), 1.0]


def _by_gradients(ratios: Sequence[float], per_class: float) -> tuple[float, ...]:
    """The weights that gradients and number of images give."""
    body = [max(ratio, _LEAST) for ratio in ratios[:-1]]
    if per_class < HEAD_ALONE or not body:
        return (*(0.0 for _ in body), 1.0)
    middle = math.exp(sum(map(math.log, body)) / len(body))
    return (*(min(max(RATE * math.sqrt(ratio / middle), SMALLEST), LARGEST) for ratio in body), RATE)


def _advised(
    place: int, votes: Sequence[tuple[float, Sequence[float]]], ratios: Sequence[float], per_class: float, count: int
) -> Advice:
    head = place == count - 1
    total = sum(weight for weight, _ in votes)
    given = [(weight, rates[place]) for weight, rates in votes if rates[place] > 0]
    share = sum(weight for weight, _ in given) / total
    factor = None
    rate = 0.0
    if given and (head or share >= 0.5):
        mean = sum(weight * math.log(one) for weight, one in given) / sum(weight for weight, _ in given)
        rate = float(f"{math.exp(mean):.3g}")  # more digits would say nothing
        if len(given) > 1:
            variance = sum(weight * (math.log(one) - mean) ** 2 for weight, one in given) / sum(weight for weight, _ in given)
            factor = math.exp(math.sqrt(variance))
    runs = votes[1:]
    parts = []
    if runs:
        parts.append(f"trained by {sum(rates[place] > 0 for _, rates in runs)} of {len(runs)} earlier schedules")
    if head:
        parts.append("the head is always trained")
    else:
        parts.append(f"gradient {ratios[place]:.2f} of the largest")
    if not head and votes[0][1][place] == 0:
        parts.append(f"{per_class:.0f} images a class: the head alone")
    return Advice(rate, share, factor, "; ".join(parts))


def _certainty(advice: Sequence[Advice], earlier: Sequence[Earlier], gradients: NDArray[np.float64]) -> str:
    """What speaks for and against the suggestion, in numbers."""
    if not earlier:
        means = gradients.mean(axis=0)
        spread = gradients.std(axis=0)[means > 0] / means[means > 0]
        much = f"{float(spread.mean()):.0%}" if len(spread) else "unknown"
        return (
            f"Uncertain: no earlier search says anything. Relative gradients scatter by {much} between {len(gradients)} "
            "mini-batches."
        )
    split = sum(0.25 < one.share < 0.75 for one in advice)
    factors = [one.factor for one in advice if one.factor is not None]
    scatter = f"scatter by a factor of {max(factors):.1f} at most" if factors else "come from one vote each"
    known = "1 earlier schedule" if len(earlier) == 1 else f"{len(earlier)} earlier schedules"
    return f"From {known}: votes are divided on {split} of {len(advice)} blocks, and learning rates {scatter}."

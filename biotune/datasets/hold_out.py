"""Holds images out and divides them into parts: seeded, stratified by class, groups and copies kept together."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from biotune.datasets.source import Indices, Source
from biotune.errors import DataError


def hold_out(source: Source, members: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """Hold out a stratified share of images, at least one per class.

    Args:
        source: Labels and, where they exist, groups.
        members: Indices of the images.
        share: Share to hold out, between 0 and 1.
        seed: Seed of the choice.

    Returns:
        The remaining and the held-out indices, both ascending.

    Raises:
        DataError: A class has fewer than two members, or too few groups.
    """
    if source.groups is not None:
        return _hold_out_groups(source, source.groups, members, max(2, round(1 / share)), seed)
    rng = np.random.default_rng(seed)
    sides: dict[int, bool] = {}  # content → whether it is held out; of images in two classes the first one decides
    repeated = None if source.copies is None else _repeated(source.copies, members)
    held_parts = []
    for label, own in by_class(source.labels, members):
        if len(own) < 2:
            raise DataError(
                f"class {source.classes[label]} has too few images ({np.count_nonzero(source.labels == label)}): one must be "
                "left to train on after one was held out. Add images to it, or give train, val and test folders."
            )
        count = min(max(1, round(share * len(own))), len(own) - 1)
        shuffled = rng.permutation(own)
        together = shuffled[:count]
        if source.copies is not None and repeated is not None:
            together = _without_parting(shuffled, source.copies, repeated, count, sides)
        # a class that consists of copies of one image cannot be divided otherwise; whoever reads the scores is told
        held_parts.append(together if 0 < len(together) < len(own) else shuffled[:count])
    held = np.sort(np.concatenate(held_parts))
    return members[np.isin(members, held, invert=True)], held


def by_class(labels: Indices, members: Indices) -> Iterator[tuple[int, Indices]]:
    """Yield each label that occurs among some images, in order, with the images that have it, in the given order.

    Args:
        labels: The label of every image of the dataset.
        members: (N,) indices of the images.
    """
    order = np.argsort(labels[members], kind="stable")
    found, begins = np.unique(labels[members][order], return_index=True)
    yield from zip(found.tolist(), np.split(members[order], begins[1:]), strict=True)


def _repeated(copies: Indices, members: Indices) -> NDArray[np.bool_]:
    """For every image of the dataset, whether it is a member with a copy among the members."""
    _, content, counts = np.unique(copies[members], return_inverse=True, return_counts=True)
    found = np.zeros(len(copies), dtype=bool)
    found[members] = counts[content] > 1
    return found


def _without_parting(
    shuffled: Indices, copies: Indices, repeated: NDArray[np.bool_], count: int, sides: dict[int, bool]
) -> Indices:
    """Of a class's images, those to hold out: `count` or nearly as many, with all of their copies.

    In their order, each content that still fits is held out.

    Args:
        shuffled: The images of the class.
        copies: Id of the content of every image of the dataset.
        repeated: For every image of the dataset, whether it has copies; the others, nearly all, are taken many at a time.
        count: How many images to hold out.
        sides: By content with copies, whether it is held out, as far as another class has decided; receives what is decided
            here.
    """
    places = np.flatnonzero(repeated[shuffled])
    contents = copies[shuffled[places]].tolist()
    size_of = Counter(contents)
    room = count - sum(size for one, size in size_of.items() if sides.get(one))
    undecided = [one for one in dict.fromkeys(contents) if one not in sides]
    first_of = dict(zip(reversed(contents), reversed(places.tolist()), strict=True))
    single = np.flatnonzero(~repeated[shuffled])
    before = np.searchsorted(single, [first_of[one] for one in undecided]).tolist()
    held = np.zeros(len(shuffled), dtype=bool)
    begin = 0
    for one, end in zip([*undecided, None], [*before, len(single)], strict=True):
        taken = min(max(room, 0), end - begin)
        held[single[begin : begin + taken]] = True
        room, begin = room - taken, end
        if one is not None:
            sides[one] = size_of[one] <= room
            room -= size_of[one] if sides[one] else 0
    if not held.any() and not any(sides[one] for one in size_of):  # all are larger than what is to be held out
        choice = [(size_of[one], first_of[one], one) for one in undecided] + [(1, int(at), None) for at in single[:1]]
        if choice:
            _, at, one = min(choice, key=lambda each: each[:2])
            if one is None:
                held[at] = True
            else:
                sides[one] = True
    held[places] = [sides[one] for one in contents]
    return shuffled[held]


def _hold_out_groups(source: Source, groups: Indices, members: Indices, num_parts: int, seed: int) -> tuple[Indices, Indices]:
    """Hold out the first of `num_parts` parts that leaves every class on both sides."""
    check_groups(source, groups, members, 2, "to hold images out")
    every = np.unique(source.labels[members])
    num_parts = min(num_parts, int(np.bincount(source.labels[members]).max()))
    for part in stratified_folds(source.labels[members], num_parts, seed, groups[members]):
        held, stay = members[part], np.delete(members, part)
        if all(np.isin(every, source.labels[side]).all() for side in (held, stay)):
            return stay, held
    fewest = min(every, key=lambda label: int((source.labels[members] == label).sum()))
    raise DataError(
        f"{source.name}: no hold-out of one part in {num_parts} has images of every class, as groups (such as patients) stay "
        f"together; class {source.classes[fewest]} has the fewest. Set a larger dataset.val_fraction and dataset.test_fraction."
    )


def stratified_folds(labels: Indices, num_folds: int, seed: int, groups: NDArray[np.int64] | None = None) -> list[Indices]:
    """Divide positions into disjoint stratified parts that together cover them.

    Args:
        labels: (N,) one label per position.
        num_folds: Number of parts; 1 gives one part with all positions.
        seed: Seed of the shuffle.
        groups: (N,) id of the group of each position; a group stays in one part.

    Returns:
        Ascending positions of each part.
    """
    positions = np.arange(len(labels))
    if num_folds == 1:
        return [positions]
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import, and not needed in workers

    if groups is not None:
        grouped = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # the callers report a class that is missing in a part, in one line
            warnings.simplefilter("ignore", UserWarning)
            return [held for _, held in grouped.split(positions, labels, groups)]
    plain = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return [held for _, held in plain.split(positions, labels)]


def check_groups(source: Source, groups: Indices, members: Indices, num_parts: int, purpose: str) -> None:
    """Reject more parts than a class has groups."""
    for label in np.unique(source.labels[members]):
        count = len(np.unique(groups[members][source.labels[members] == label]))
        if count < num_parts:
            raise DataError(
                f"class {source.classes[label]} has images of {count} groups (such as patients), which stay together; "
                f"{num_parts} are needed {purpose}. Add images, hold out a larger share or set fewer evolution.folds."
            )

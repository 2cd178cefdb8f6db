"""Hold-outs of images with copies: many at a time, but as if one content after the other were decided."""

from __future__ import annotations

import numpy as np
import pytest

from biotune.datasets.hold_out import by_class, hold_out
from biotune.datasets.source import Source


def source_of(labels: list[int], copies: list[int]) -> Source:
    count = len(labels)
    return Source(
        name="made",
        classes=("a", "b", "c"),
        labels=np.array(labels, dtype=np.int64),
        splits=np.full(count, "", dtype="<U5"),
        names=tuple(map(str, range(count))),
        read=lambda index: None,  # type: ignore[arg-type,return-value]
        fingerprint="made",
        copies=np.array(copies, dtype=np.int64),
    )


def one_by_one(source: Source, members: np.ndarray, share: float, seed: int) -> list[int]:
    """The rule in plain words: in random order, each content of a class is held out if all of its images still fit."""
    assert source.copies is not None
    rng = np.random.default_rng(seed)
    held_out: dict[int, bool] = {}
    held: list[int] = []
    for label in np.unique(source.labels[members]):
        own = members[source.labels[members] == label]
        count = min(max(1, round(share * len(own))), len(own) - 1)
        shuffled = rng.permutation(own).tolist()
        contents = [int(source.copies[image]) for image in shuffled]
        room = count - sum(held_out.get(content, False) for content in contents)
        new = [content for content in dict.fromkeys(contents) if content not in held_out]
        for content in new:
            held_out[content] = contents.count(content) <= room
            room -= contents.count(content) * held_out[content]
        if new and not any(held_out[content] for content in contents):
            held_out[min(new, key=contents.count)] = True
        chosen = [image for image, content in zip(shuffled, contents, strict=True) if held_out[content]]
        held += chosen if 0 < len(chosen) < len(own) else shuffled[:count]
    return sorted(held)


@pytest.mark.parametrize("contents", [1, 5, 20, 60, 1000])
def test_what_is_held_out_is_as_decided_one_by_one(contents: int) -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = np.concatenate([[0, 0, 1, 1, 2, 2], rng.integers(0, 3, 34)])
        source = source_of(labels.tolist(), rng.integers(0, contents, 40).tolist())
        members = np.arange(40)
        share = float(rng.uniform(0.05, 0.9))
        stay, held = hold_out(source, members, share, seed)
        assert held.tolist() == one_by_one(source, members, share, seed)
        assert sorted([*stay, *held]) == members.tolist()


def test_images_come_by_class_in_their_order() -> None:
    labels = np.array([2, 0, 2, 1, 0, 2])
    found = [(label, own.tolist()) for label, own in by_class(labels, np.array([5, 4, 2, 1]))]
    assert found == [(0, [4, 1]), (2, [5, 2])]

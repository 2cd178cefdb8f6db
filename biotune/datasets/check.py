"""Verifies that a local copy is complete: compares the counts with the official ones, and decodes every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.catalogue import Facts
from biotune.datasets.copies import Copies, digest_of_image, sets_of_copies
from biotune.datasets.images import bombs_refused, is_hidden
from biotune.datasets.parallel import in_parallel
from biotune.datasets.registry import facts_of, load_source
from biotune.datasets.source import SPLITS
from biotune.errors import one_line

HIDDEN = "hidden"


@dataclass(frozen=True)
class Count:
    """One count of a copy.

    Attributes:
        what: What is counted: `classes`, or the images of `train`, `val` or `test`.
        found: The count in the copy.
        official: The official count; None where there is none.
    """

    what: str
    found: int
    official: int | None

    @property
    def agrees(self) -> bool:
        """Whether the count equals the official one, if there is one."""
        return self.official is None or self.found == self.official


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        counts: Classes and images of each split.
        broken: Name of an image → the reason why it cannot be decoded.
        copies: Sets of images with the same pixels.
        names: Name of each image.
        passed_over: Kind of file below the root that is no image of the dataset → how many: `hidden`, or the file's ending.
    """

    counts: tuple[Count, ...]
    broken: dict[str, str]
    copies: tuple[Copies, ...]
    names: tuple[str, ...]
    passed_over: dict[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether all counts agree and every image can be decoded."""
        return not self.broken and all(count.agrees for count in self.counts)


def check_copy(config: DatasetConfig, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Finding:
    """Count what a copy holds and decode every image of it.

    Args:
        config: The dataset and its root.
        on_progress: Called with the number of images decoded and the number of all images.

    Returns:
        The counts and the broken images.

    Raises:
        DataError: The copy is missing or cannot be read at all.
    """
    source, facts = load_source(config), facts_of(config)
    broken: dict[str, str] = {}
    digests = [b""] * len(source.names)

    def decoded(index: int) -> bytes:
        with source.read(index) as image:
            return digest_of_image(image)

    with bombs_refused():
        for index, outcome in in_parallel(decoded, len(source.names)):
            if isinstance(outcome, Exception):
                broken[source.names[index]] = one_line(outcome) or type(outcome).__name__
            else:
                digests[index] = outcome
            on_progress(index + 1, len(source.names))
    used = int(np.unique(source.labels).size)
    counts = [Count("classes", used, len(source.classes) if facts is None or facts.classes is None else facts.classes)]
    # images without an official split count as training images: hold-outs are drawn from them
    sizes = {split: int(np.isin(source.splits, (split, "") if split == "train" else (split,)).sum()) for split in SPLITS}
    counts += [
        Count(split, sizes[split], _official(facts, split)) for split in SPLITS if sizes[split] or _official(facts, split)
    ]
    copies = sets_of_copies(digests, source.splits.tolist(), source.labels.tolist())
    return Finding(tuple(counts), broken, tuple(copies), source.names, dict(Counter(map(_kind, source.passed_over()))))


def _kind(name: str) -> str:
    path = Path(name)
    return HIDDEN if any(map(is_hidden, path.parts)) else path.suffix.lower() or "no ending"


def _official(facts: Facts | None, split: str) -> int | None:
    return None if facts is None else {"train": facts.train, "val": facts.val, "test": facts.test}[split]

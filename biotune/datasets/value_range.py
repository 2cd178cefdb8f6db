"""The range of values of images of more than 8 bits, found over the training images once."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from biotune.datasets.images import EIGHT_BIT, FLOAT, TYPE_RANGE, ValueRange, bombs_refused, kind_of, values_of
from biotune.datasets.shards import OnProgress, in_shards, unfinished
from biotune.datasets.source import Indices, Source
from biotune.store.files import write_whole
from biotune.store.scratch import cache_folder

_FORMAT = 1

RANGES = "ranges"  # the folder in the cache
_MOST = 0.5  # share of a type's range that images must use, so that the range is taken for theirs


def find_range(source: Source, members: Indices, on_progress: OnProgress = lambda done, total: None) -> ValueRange | None:
    """Find the values that stand for black and white in a dataset's images of more than 8 bits.

    Microscopes and X-ray detectors write 12 bits into images of 16, which would come out nearly black. The range is that of
    the type where images use at least half of it: 0 to 65,535 for integers, 0 to 1 or 0 to 255 for floats; otherwise it goes
    from the smallest to the largest value.

    Args:
        source: The labelled images.
        members: (N,) indices of the training images; no other image has a say.
        on_progress: Called with the number of images looked at and the number of all images.

    Returns:
        The range; None for the type's: there are only 8-bit images, both integers and floats, or integers that use their range.
    """
    if not source.on_disk:
        return None
    key = hashlib.sha256(f"{_FORMAT} {source.fingerprint}".encode() + members.tobytes()).hexdigest()
    file = cache_folder() / RANGES / f"{key[:32]}.json"
    with suppress(OSError, ValueError):
        return _kept(file)
    with unfinished(file, len(members), on_progress) as part:
        with suppress(OSError, ValueError):  # another process may have made it while this one waited
            return _kept(file)
        found = _over(source, members, part, on_progress)
        content = json.dumps(found).encode()
        write_whole(file, lambda target: target.write(content))
    return found


def _kept(file: Path) -> ValueRange | None:
    kept = json.loads(file.read_text(encoding="utf-8"))
    return None if kept is None else (float(kept[0]), float(kept[1]))


def _over(source: Source, members: Indices, part: Path, on_progress: OnProgress) -> ValueRange | None:
    kinds: set[str] = set()
    low, high = np.inf, -np.inf
    with bombs_refused():
        for _, outcome in in_shards(part, len(members), partial(_extremes, source, members), _recorded, on_progress):
            if outcome is None:
                continue
            kind, smallest, largest = outcome
            kinds.add(kind)
            low, high = min(low, smallest), max(high, largest)
    if len(kinds) != 1 or not low < high:
        return None
    if kinds == {FLOAT}:
        usual: ValueRange = (0.0, 1.0) if high <= 1 else (0.0, 255.0)
        return usual if _uses(usual, low, high) else (low, high)
    return None if _uses(TYPE_RANGE, low, high) else (low, high)


def _recorded(row: int, outcome: tuple[str, float, float] | None | Exception) -> tuple[str, float, float] | None:
    # an image that cannot be decoded is told of by the decoder
    return None if isinstance(outcome, Exception) else outcome


def _uses(usual: ValueRange, low: float, high: float) -> bool:
    return usual[0] <= low and high <= usual[1] and high - low >= _MOST * (usual[1] - usual[0])


def _extremes(source: Source, members: Indices, row: int) -> tuple[str, float, float] | None:
    """Kind, smallest and largest finite value of an image; None for 8 bits and where no value is a number."""
    with source.read(int(members[row])) as image:
        kind = kind_of(image)
        if kind == EIGHT_BIT:
            return None
        try:
            values = values_of(image)
        except ValueError:  # the upper eight bits say whether the lower ones are needed
            values = np.asarray(image).astype(np.int64) * 257
    colours = values[..., :-1] if values.ndim == 3 and values.shape[2] in (2, 4) else values
    finite = colours[np.isfinite(colours)]
    return (kind, float(finite.min()), float(finite.max())) if finite.size else None

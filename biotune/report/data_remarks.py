"""What a check of a dataset has found, in sentences with their remedies, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from biotune.datasets.check import Finding
from biotune.datasets.sizes import LONG

_SHOWN = 3  # names in a sentence
_FEW_TESTED = 5  # test images of a class, below which its accuracy is rough
_UNEVEN = 10  # times as many images in the largest class as in the smallest


@dataclass(frozen=True)
class Remark:
    """Something that whoever trains on a dataset should know.

    Attributes:
        what: A sentence.
        remedy: What to do about it; empty where the sentence says so.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".rstrip()


def remarks(finding: Finding) -> list[Remark]:
    """Everything but broken images, which are told one by one."""
    found = [*_on_copies(finding), *_on_near(finding), *_on_classes(finding), *_on_test_set(finding), *_on_sizes(finding)]
    if finding.several:
        files = "1 file holds" if len(finding.several) == 1 else f"{len(finding.several):,} files hold"
        found.append(
            Remark(
                f"{files} several pages or frames: {listed(finding.several)}.",
                "The first one is used; save others as files of their own.",
            )
        )
    return found


def on_splits(finding: Finding) -> str:
    """How a run would split the images that can be decoded, in a sentence; empty if it refuses the dataset."""
    if finding.cut is None:
        return ""
    train, val, test = (f"{part.size:,}" for part in (finding.cut.train, finding.cut.val, finding.cut.test))
    without = int((finding.source.splits == "").sum())
    images = "image without a split is" if without == 1 else f"{without:,} images without a split are"
    drawn = f"; the {images} divided at random" if without else ""
    without_broken = " without the broken ones" if finding.broken else ""
    return f"A run{without_broken} trains on {train} images, validates on {val} and tests on {test}{drawn}."


def on_broken(finding: Finding, skipped: bool) -> Remark:
    """How many images cannot be decoded, and what to do about them.

    Args:
        finding: The result of the check, which has found some.
        skipped: Whether `dataset.skip_broken` leaves them out.
    """
    count = f"{len(finding.broken):,} broken image{'s' * (len(finding.broken) != 1)}."
    if skipped:
        return Remark(count, "Runs with dataset.skip_broken=true leave out what is broken.")
    return Remark(count, "Replace or remove them, or set dataset.skip_broken=true in runs.")


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Names with commas between them, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _on_copies(finding: Finding) -> Iterator[Remark]:
    across = sum(one.across for one in finding.copies)
    if across:
        lie = "1 image lies" if across == 1 else f"{across:,} images lie"
        yield Remark(f"{lie} in more than one split, so that scores are too good.", "Keep one copy of each.")
    disagree = sum(one.disagree for one in finding.copies)
    if disagree:
        lie = "1 image lies" if disagree == 1 else f"{disagree:,} images lie"
        yield Remark(f"{lie} in more than one class.", "Keep the copies with the right label.")
    if rest := sum(not (one.across or one.disagree) for one in finding.copies):
        are = "1 image is" if rest == 1 else f"{rest:,} images are"
        yield Remark(f"{are} there more than once in one class; what is held out keeps copies on one side.", "")


def _on_near(finding: Finding) -> Iterator[Remark]:
    if finding.near is None:
        yield Remark("Near duplicates were not looked for.", "Install what finds them: pip install 'biotune[check]'")
        return
    across = [one for one in finding.near if one.across]
    within = [one for one in finding.near if not one.across]
    disagree = [one for one in finding.near if one.disagree]
    for found, where, effect, remedy in (
        (across, "in several splits", "so that scores are too good", "Keep those of one split."),
        (
            within,
            "in one split",
            "and what is held out may part them",
            "Keep one of each, or list the images in a table that gives them a common group (dataset=table "
            "dataset.group_column=COLUMN).",
        ),
        (disagree, "in several classes", "so that labels are wrong or ambiguous", "Correct the labels."),
    ):
        if found:
            sets = "1 set of near duplicates lies" if len(found) == 1 else f"{len(found):,} sets of near duplicates lie"
            first = " ~ ".join(finding.names[at] for at in found[0].images[:_SHOWN])
            yield Remark(f"{sets} {where}, {effect}: {first}.", remedy)


def _on_classes(finding: Finding) -> Iterator[Remark]:
    if lacking := [one for one in finding.classes if one.lacks]:
        more = f" So do {len(lacking) - 1:,} more." if len(lacking) > 1 else ""
        yield Remark(
            f"Class {lacking[0].name} {lacking[0].lacks}.{more}",
            "Add images, or take the class out; a run refuses the dataset as it is."
            if finding.refused
            else "Add images, or take the class out.",
        )
    elif finding.refused:
        yield Remark(f"A run refuses the dataset: {finding.refused.rstrip('.')}.", "")
    counts = sorted((sum(one.images), one.name) for one in finding.classes)
    if len(counts) > 1 and counts[-1][0] >= _UNEVEN * counts[0][0]:
        (fewest, rare), (most, common) = counts[0], counts[-1]
        yield Remark(
            f"Classes are uneven: {common} has {most:,} images, {rare} {fewest:,}.",
            "training.class_weights=balanced gives rare classes more weight.",
        )


def _on_test_set(finding: Finding) -> Iterator[Remark]:
    """Classes whose test images are so few that one more or less moves their accuracy far."""
    if finding.cut is None:
        return
    source, cut = finding.source, finding.cut
    trained, tested = (np.bincount(source.labels[part], minlength=len(source.classes)) for part in (cut.train, cut.test))
    rough = np.flatnonzero((trained > 0) & (tested > 0) & (tested < _FEW_TESTED))
    if not rough.size:
        return
    worst = rough[np.argmin(tested[rough])]
    fewest = int(tested[worst])
    name, number = source.classes[worst], f"{fewest} image{'s' * (fewest > 1)}"
    what = f"Class {name} is tested on {number}"
    if rough.size > 1:
        what = f"{rough.size:,} classes are tested on few images, class {name} on {number}"
    yield Remark(
        f"{what}: one of them moves its accuracy by {round(100 / fewest)} points.",
        "Add test images, or raise dataset.test_fraction where the test set is held out.",
    )


def _on_sizes(finding: Finding) -> Iterator[Remark]:
    sizes = finding.sizes
    if sizes is None:
        return
    for found, what, remedy in (
        (
            sizes.long,
            f"more than {LONG} times as long as wide, so that the centre crop shows less than a third",
            "Cut them into parts, pad them, or set dataset.image_size=[HEIGHT,WIDTH].",
        ),
        (sizes.small, "less than a quarter as large as the others", "They may be thumbnails; replace them by the originals."),
        (sizes.large, "more than four times as large as the others", "They only take longer to decode."),
    ):
        if found:
            are = "1 image is" if len(found) == 1 else f"{len(found):,} images are"
            yield Remark(f"{are} {what}: {listed([finding.names[at] for at in found])}.", remedy)

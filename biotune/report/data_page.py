"""The page of `biotune data check`: what was found, and a contact sheet of every class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.check import Finding
from biotune.datasets.copies import Copies
from biotune.datasets.images import bombs_refused, to_view
from biotune.datasets.parallel import in_parallel
from biotune.report.data_remarks import on_broken, on_splits, remarks
from biotune.report.templating import template
from biotune.report.thumbnails import draft, thumbnail
from biotune.store.files import write_text

_MOST_IMAGES, _MOST_OF_CLASS = 600, 12  # of the contact sheets
_MOST_SETS, _MOST_OF_SET = 24, 6  # of duplicates
_MOST_BROKEN, _MOST_CLASSES = 100, 300


@dataclass(frozen=True)
class Shown:
    """An image on the page.

    Attributes:
        name: Its name.
        split: Its split; empty where it has none.
        label: Its class.
        thumbnail: A data URI; None if it cannot be decoded.
    """

    name: str
    split: str
    label: str
    thumbnail: str | None


def write_data_page(path: Path, finding: Finding, config: DatasetConfig) -> None:
    """Write the page, one self-contained file of at most some megabytes.

    Args:
        path: The file.
        finding: The result of the check.
        config: The dataset's config.

    Raises:
        RunFolderError: The file cannot be written.
    """
    write_text(path, render(finding, config))


def render(finding: Finding, config: DatasetConfig) -> str:
    """Render the page as HTML.

    Args:
        finding: The result of the check.
        config: The dataset's config.
    """
    sheets = _sheets(finding)
    copies, near = finding.copies, finding.near or ()
    pictured = [*(one.images[:_MOST_OF_SET] for found in (copies, near) for one in _worst(found)), *sheets.values()]
    shown = _shown(finding, config, sorted({at for images in pictured for at in images}))
    largest = max((sum(one.images) for one in finding.classes), default=1)
    return str(
        template("data.html").render(
            title=config.name,
            root=config.root or config.hub,
            finding=finding,
            lead=_lead(finding),
            images=len(finding.names),
            remarks=[*([on_broken(finding, config.skip_broken)] if finding.broken else []), *remarks(finding)],
            on_splits=on_splits(finding),
            unassigned=bool((finding.source.splits == "").any()),
            broken=list(finding.broken.items())[:_MOST_BROKEN],
            duplicates=[
                ("Copies: the same pixels", copies, _pictured(copies, shown)),
                ("Near duplicates: images that look alike", near, _pictured(near, shown)),
            ],
            classes=[(one, round(100 * sum(one.images) / largest, 1)) for one in finding.classes[:_MOST_CLASSES]],
            sheets=[(name, [shown[at] for at in images]) for name, images in sheets.items()],
        )
    )


def _lead(finding: Finding) -> str:
    count = f"{len(finding.names):,} images of {len(finding.classes):,} classes"
    if finding.broken:
        return f"{count}; {len(finding.broken):,} cannot be decoded."
    if not finding.is_whole:
        return f"{count}; counts differ from the official ones."
    return f"{count}; every one can be decoded."


def _worst(found: Sequence[Copies]) -> list[Copies]:
    """The sets to show: those that spoil scores first."""
    return sorted(found, key=lambda one: not (one.across or one.disagree))[:_MOST_SETS]


def _pictured(found: Sequence[Copies], shown: dict[int, Shown]) -> list[dict[str, Any]]:
    return [
        {"set": one, "images": [shown[at] for at in one.images[:_MOST_OF_SET]], "more": len(one.images) - _MOST_OF_SET}
        for one in _worst(found)
    ]


def _sheets(finding: Finding) -> dict[str, list[int]]:
    """Class → some of its images that can be decoded, spread evenly over them; as many classes as the page has room for."""
    source = finding.source
    each = min(max(_MOST_IMAGES // max(len(finding.classes), 1), 1), _MOST_OF_CLASS)
    whole = np.array([name not in finding.broken for name in source.names], dtype=bool)
    sheets: dict[str, list[int]] = {}
    for label, name in enumerate(source.classes):
        own = np.flatnonzero((source.labels == label) & whole)
        if own.size and len(sheets) * each < _MOST_IMAGES:
            sheets[name] = own[np.unique(np.linspace(0, own.size - 1, each).round().astype(int))].tolist()
    return sheets


def _shown(finding: Finding, config: DatasetConfig, images: Sequence[int]) -> dict[int, Shown]:
    """The thumbnails of some images, decoded again."""
    source = finding.source

    def made(row: int) -> str:
        with source.read(images[row]) as opened:
            draft(opened)
            return thumbnail(to_view(opened, config.limits))

    with bombs_refused():
        found: Iterable[tuple[int, str | Exception]] = list(in_parallel(made, len(images)))
    return {
        images[row]: Shown(
            source.names[images[row]],
            str(source.splits[images[row]]),
            source.classes[source.labels[images[row]]],
            None if isinstance(uri, Exception) else uri,
        )
        for row, uri in found
    }

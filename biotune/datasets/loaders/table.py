"""Loader of the user's images listed in a table: a row an image, with its path, its label, and if present split and group."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import IMAGE_SUFFIXES, image_names, open_image
from biotune.datasets.loaders.columns import GROUP, IMAGE, LABEL, SPLIT, find_column, named, remark_on_guesses
from biotune.datasets.loaders.files import fingerprint, in_order, local_root, numbered_groups, passed_over
from biotune.datasets.loaders.table_file import SUFFIXES, TableFile
from biotune.datasets.source import Source, split_of
from biotune.errors import DataError

_SHOWN = 3  # rows that an error names


class _Wrong(NamedTuple):
    """What can be wrong with rows: in words for one row and for several, and the remedy."""

    one: str
    several: str
    remedy: str


_NO_IMAGE = _Wrong("names no image", "name no image", "Fill in the path, or remove the row.")
_MISSING = _Wrong(
    "names a file that is missing",
    "name files that are missing",
    "Put them below dataset.root, remove the rows, or set dataset.skip_broken=true.",
)
_NO_LABEL = _Wrong("has no label", "have no label", "Fill it in, or remove the row.")
_NO_SPLIT = _Wrong("has no split", "have no split", "Fill in train, val or test, or set dataset.split_column=none.")
_NO_SPLIT_WORD = _Wrong(
    "has a split that is none of train, val and test",
    "have splits that are none of train, val and test",
    "Use these words, or set dataset.split_column=none.",
)
_REPEATED = _Wrong("repeats the image of an earlier row", "repeat images of earlier rows", "Keep one row an image.")


@dataclass
class _Rows:
    """The rows that are used, and what is wrong with the others.

    Attributes:
        names: Path of each image, relative to the root.
        labels: Its label.
        splits: Its split; empty where the table has none.
        groups: The id of its group.
        wrong: What is wrong with rows → where they are, with the value.
    """

    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    wrong: dict[_Wrong, list[str]] = field(default_factory=lambda: defaultdict(list))


def load(config: DatasetConfig) -> Source:
    """Read the table `dataset.table`, and find its images below `dataset.root`, or below the table's own folder.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images, with the splits and groups of the table.

    Raises:
        DataError: The table or a column is missing, or rows have no image, file, label or split, or repeat an image.
    """
    file, root = _places(config)
    table = TableFile(file)
    found = {what: find_column(config, what, table.columns, str(file)) for what in (IMAGE, LABEL, SPLIT, GROUP)}
    remarks = []
    split = found[SPLIT]
    if split is not None and named(config, SPLIT) is None and not _holds_splits(table, split):
        remarks.append(f"column {split} holds no splits (train, val, test) and is not used.")
        found[SPLIT] = None
    files = _Files(root, file.parent)
    rows = _read(table, found, files)
    if found[SPLIT] is None and len(folders := _split_folders(rows.names)) > 1:
        remarks.append(
            f"images lie in folders {', '.join(folders)}, which are not taken for splits, as the table has no column of splits "
            "(train, val, test); add one to use them."
        )
    missing = rows.wrong.pop(_MISSING, []) if config.skip_broken else []
    if rows.wrong:
        raise DataError("\n".join(_told(file, wrong, places) for wrong, places in rows.wrong.items()))
    if not rows.names:
        raise DataError(f"{file}: lists no image{' whose file is there' if missing else ''}.")
    if missing:
        rows_are = "1 row is" if len(missing) == 1 else f"{len(missing):,} rows are"
        remarks.append(f"{rows_are} left out for want of the file: {_listed(missing)}.")
    remarks += files.remarks
    classes = in_order(set(rows.labels))
    number = {name: label for label, name in enumerate(classes)}
    names = tuple(rows.names)
    return Source(
        name=config.name,
        classes=classes,
        labels=np.array([number[label] for label in rows.labels], dtype=np.int64),
        splits=np.array(rows.splits, dtype="<U5"),
        names=names,
        read=lambda index: open_image(root / names[index]),
        fingerprint=fingerprint(root, names),
        groups=None if found[GROUP] is None else numbered_groups(rows.groups),
        passed_over=partial(passed_over, root, {*names, os.path.relpath(file, root)}),
        remarks=(*remark_on_guesses(config, found), *remarks),
    )


def _places(config: DatasetConfig) -> tuple[Path, Path]:
    """The table and the root: without a root, the folder of the table."""
    given = Path(str(config.table)).expanduser()
    if config.root is None:
        if not given.is_file():
            raise DataError(f"dataset.table={config.table}: no such file. Give its path, or set dataset.root to its folder.")
        return given, given.parent
    root = local_root(config, "the folder below which the images of the table lie")
    file = next((place for place in (root / given, given) if place.is_file()), None)
    if file is None:
        tables = sorted(path.name for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
        there = f" There are: {', '.join(tables)}." if tables else ""
        raise DataError(f"dataset.table={config.table}: no such file in dataset.root={config.root}.{there}")
    return file, root


def _split_folders(names: list[str]) -> list[str]:
    """The folders right below the root that hold images and are named for a split."""
    return sorted({name.partition(os.sep)[0] for name in names if os.sep in name and split_of(name.partition(os.sep)[0])})


def _holds_splits(table: TableFile, column: str) -> bool:
    """Whether any value of a column is a split: if none is, a column such as `fold` means something else."""
    return any(split_of(value) for _, (value,) in table.rows([column]))


def _read(table: TableFile, found: dict[str, str | None], files: _Files) -> _Rows:
    used = {what: column for what, column in found.items() if column is not None}
    rows = _Rows()
    seen: dict[str, str] = {}
    for where, values in table.rows(list(used.values())):
        value = dict(zip(used, values, strict=True))
        image, label = value[IMAGE], value[LABEL]
        name = files.find(image) if image else None
        split = "" if SPLIT not in used else split_of(value[SPLIT])
        for wrong, what, shown in (
            (not image, _NO_IMAGE, ""),
            (image and name is None, _MISSING, f" ({image})"),
            (not label, _NO_LABEL, f" ({image})"),
            (SPLIT in used and not value[SPLIT], _NO_SPLIT, f" ({image})"),
            (split is None and value.get(SPLIT), _NO_SPLIT_WORD, f" ({value.get(SPLIT)})"),
            (name in seen, _REPEATED, f" ({image}, as {seen.get(name or '')})"),
        ):
            if wrong:
                rows.wrong[what].append(where + shown)
        if name is not None:
            seen.setdefault(name, where)
            rows.names.append(name)
            rows.labels.append(label)
            rows.splits.append(split or "")
            rows.groups.append(value.get(GROUP, ""))
    return rows


def _told(file: Path, wrong: _Wrong, places: list[str]) -> str:
    rows = f"1 row {wrong.one}" if len(places) == 1 else f"{len(places):,} rows {wrong.several}"
    return f"{file}: {rows}: {_listed(places)}. {wrong.remedy}"


def _listed(places: list[str]) -> str:
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more


class _Files:
    """Finds the files that a table names: relative to the root, relative to the table, or by another spelling of their name.

    Tables name files without their ending, with the separators of another system, in other case, or without their folder.
    A name that several files could have is not found.
    """

    def __init__(self, root: Path, beside: Path) -> None:
        """Prepare; no folder is listed yet.

        Args:
            root: The folder below which images lie.
            beside: The folder of the table.
        """
        self._root, self._beside = root, beside
        self._example: tuple[str, str] | None = None
        self._guessed = 0

    @property
    def remarks(self) -> list[str]:
        """A sentence on files that were found by another spelling."""
        if self._example is None:
            return []
        what = "1 image is" if self._guessed == 1 else f"{self._guessed:,} images are"
        return [f"{what} found by another spelling of the path, such as {self._example[0]} at {self._example[1]}."]

    def find(self, given: str) -> str | None:
        """Return the path of a file relative to the root; None if it is not there."""
        for folder in (self._root, self._beside):
            place = os.path.join(folder, os.path.expanduser(given))
            if os.path.isfile(place):
                return os.path.relpath(place, self._root)
        key = _plain(given)
        name = self._by_path.get(key, self._by_name.get(key))
        if name:
            self._guessed += 1
            self._example = self._example or (given, name)
        return name or None

    @cached_property
    def _by_path(self) -> dict[str, str]:
        """Spelling of a path → the image below the root; empty where several images could be meant."""
        found: dict[str, str] = {}
        for name in image_names(self._root):
            for key in {_plain(name), _without_ending(_plain(name))}:
                found[key] = "" if key in found else name
        return found

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """The same by the file's name alone: a table that names a folder means that folder."""
        found: dict[str, str] = {}
        for name in image_names(self._root):
            plain = _plain(name).rpartition("/")[2]
            for key in {plain, _without_ending(plain)}:
                found[key] = "" if key in found else name
        return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./").casefold()


def _without_ending(name: str) -> str:
    return next((name.removesuffix(ending) for ending in IMAGE_SUFFIXES if name.endswith(ending)), name)

"""Finds the columns of the user's tables: by the names that the config gives, or by usual names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from biotune.config.sections import NO_COLUMN, DatasetConfig
from biotune.errors import DataError, did_you_mean

IMAGE, LABEL, SPLIT, GROUP = "image", "label", "split", "group"  # what a column holds

# names of columns as people give them, the surest first; compared without case and with any mark for a blank
_USUAL: Mapping[str, tuple[str, ...]] = {
    IMAGE: (
        *("image", "image_path", "img_path", "path", "file_path", "filepath", "filename", "file_name", "image_name"),
        *("img_name", "image_file", "file", "img", "image_id", "img_id", "id"),
    ),
    LABEL: (
        *("class_name", "label_name", "category_name", "label", "class", "target", "category", "labels", "species", "breed"),
        *("diagnosis", "dx", "class_id", "label_id", "y"),
    ),
    SPLIT: ("split", "subset", "partition", "set", "fold", "phase", "usage"),
    GROUP: ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "case_id", "person_id", "individual_id"),
}
_NEEDED = (IMAGE, LABEL)


def named(config: DatasetConfig, what: str) -> str | None:
    """The value of the key that names a column: `dataset.image_column` and so on."""
    value: str | None = getattr(config, f"{what}_column")
    return value


def find_column(config: DatasetConfig, what: str, columns: Sequence[str], where: str) -> str | None:
    """Find one column.

    Args:
        config: The dataset's config.
        what: What it holds: image, label, split or group.
        columns: The names of the columns that can be meant.
        where: The table, for messages.

    Returns:
        Its name; None where the table has no such column, or the config says that none is to be used.

    Raises:
        DataError: The config names a column that is not there, or a column that is needed is not found.
    """
    name = named(config, what)
    if name == NO_COLUMN and what not in _NEEDED:
        return None
    if name is not None:
        if name not in columns:
            raise DataError(
                f"dataset.{what}_column={name}: {where} has no such column.{did_you_mean(name, columns)} "
                f"Known: {', '.join(columns)}."
            )
        return name
    guessed = guess(what, columns)
    if guessed is None and what in _NEEDED:
        raise DataError(
            f"{where}: has no column that is surely the {what}'s. Name it by dataset.{what}_column; "
            f"its columns: {', '.join(columns)}."
        )
    return guessed


def guess(what: str, columns: Collection[str]) -> str | None:
    """The column with the surest of the usual names; None if there is none."""
    plain = {re.sub(r"[^a-z0-9]+", "_", column.strip().lower()).strip("_"): column for column in reversed(list(columns))}
    return next((plain[name] for name in _USUAL[what] if name in plain), None)


def remark_on_guesses(config: DatasetConfig, found: Mapping[str, str | None]) -> tuple[str, ...]:
    """A sentence that tells which columns were guessed, and how to set them; none if all were named.

    Args:
        config: The dataset's config.
        found: What a column holds → its name; None where there is none.
    """
    guessed = {what: column for what, column in found.items() if column is not None and named(config, what) is None}
    if not guessed:
        return ()
    listed = ", ".join(f"{column} ({what})" for what, column in guessed.items())
    optional = [what for what in guessed if what not in _NEEDED]
    without = f"; dataset.{optional[0]}_column={NO_COLUMN} uses none" if optional else ""
    keys = f"dataset.{next(iter(guessed))}_column" + (" and so on" if len(guessed) > 1 else "")
    return (f"columns guessed by their names: {listed}. Others are set by {keys}{without}.",)

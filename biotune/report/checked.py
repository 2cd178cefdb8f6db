"""Reads one file of a run folder and checks it; whatever is wrong is a `RunFolderError` of one line that names the file."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from biotune.errors import RunFolderError, one_line

if TYPE_CHECKING:
    import pandas as pd


def checked_text(path: Path) -> str:
    """Read a file of a run folder as UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunFolderError(f"{path}: is missing; without it the run cannot be reported.") from None
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise RunFolderError(f"{path}: is damaged (no UTF-8 text).") from error


def checked_json(path: Path) -> dict[str, Any]:
    """Read a file of a run folder that holds a JSON object."""
    try:
        value = json.loads(checked_text(path))
    except ValueError as error:
        raise RunFolderError(f"{path}: is damaged ({one_line(error)}).") from error
    if not isinstance(value, dict):
        raise RunFolderError(f"{path}: is damaged (no JSON object).")
    return value


def checked_yaml(path: Path, kind: type) -> Any:
    """Read a file of a run folder that holds YAML of a kind, list or dict."""
    try:
        value = yaml.safe_load(checked_text(path))
    except yaml.YAMLError as error:
        raise RunFolderError(f"{path}: is damaged ({one_line(error)}).") from error
    if not isinstance(value, kind):
        raise RunFolderError(f"{path}: is damaged (no {'list' if kind is list else 'mapping'}).")
    return value


def checked_table(
    path: Path,
    numbers: set[str],
    others: Sequence[str] | set[str] = (),
    texts: Sequence[str] = (),
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Read a CSV file and check its columns.

    Args:
        path: The file.
        numbers: Required columns with a finite number in every row, except those in `texts`.
        others: Required columns that may have empty cells.
        texts: Columns read as text; a class may be called NA.
        may_be_empty: Whether a table without rows is valid.
    """
    import pandas as pd  # half a second, and not needed before a run's end

    text = checked_text(path)
    if not text.endswith("\n"):
        raise RunFolderError(f"{path}: is damaged (its last line is cut off).")
    try:
        # `na_values` by column: otherwise pandas would read the texts NA, null and None as missing values
        head = pd.read_csv(StringIO(text), nrows=0).columns
        empty = {name: [""] for name in head if name not in texts}
        table = pd.read_csv(
            StringIO(text), dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=empty | dict.fromkeys(texts, [])
        )
    except ValueError as error:  # pandas' ParserError and EmptyDataError are subclasses
        raise RunFolderError(f"{path}: is damaged ({one_line(error)}).") from error
    if missing := sorted({*numbers, *others, *texts} - set(table.columns)):
        raise RunFolderError(f"{path}: is damaged (no column {missing[0]}).")
    if table.empty and not may_be_empty:
        raise RunFolderError(f"{path}: is damaged (no rows).")
    for name in sorted(numbers - set(texts)):
        column = pd.to_numeric(table[name], errors="coerce")
        if not column.map(math.isfinite).all():
            row = int((~column.map(math.isfinite)).to_numpy().argmax()) + 2
            raise RunFolderError(f"{path}: is damaged (line {row}: {name} is no number).")
    return table

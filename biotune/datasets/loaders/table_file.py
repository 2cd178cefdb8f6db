"""Reads tables row by row, as texts: CSV and TSV as spreadsheets write them, and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from biotune.errors import DataError, one_line

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".parquet")
_MARKS = {".tsv": "\t", ".tab": "\t"}
_PARQUET = ".parquet"


class TableFile:
    """A table, of which only the columns that are asked for are kept.

    Attributes:
        path: The file.
        columns: The names of its columns, without blanks around them.
    """

    def __init__(self, path: Path) -> None:
        """Read the names of the columns.

        Args:
            path: The file.

        Raises:
            DataError: It cannot be read, its kind is unknown, or columns have no name or the same one.
        """
        self.path = path
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: is no table that can be read ({', '.join(kind[1:] for kind in SUFFIXES)}).")
        try:
            names = _parquet_columns(path) if path.suffix.lower() == _PARQUET else self._header()
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise _unreadable(path, error) from error
        self._all = [name.strip() for name in names]
        self.columns = [name for name in self._all if name]
        if not self.columns:
            raise DataError(f"{path}: is empty; its first line must name the columns.")
        if repeated := next((name for name in self.columns if self.columns.count(name) > 1), None):
            raise DataError(f"{path}: has several columns named {repeated}; rename all but one.")

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield every row: where it is, such as `line 7`, and its values of some columns as texts without blanks around them.

        Args:
            wanted: The names of the columns.

        Raises:
            DataError: The file cannot be read, or a line has another number of values than the header.
        """
        try:
            if self.path.suffix.lower() == _PARQUET:
                yield from self._parquet_rows(wanted)
            else:
                yield from self._lines(wanted)
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise _unreadable(self.path, error) from error

    def _header(self) -> list[str]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            self._mark = _MARKS.get(self.path.suffix.lower()) or max(",;\t", key=first.count)
            file.seek(0)
            return next(csv.reader(file, delimiter=self._mark), [])

    def _lines(self, wanted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        places = [self._all.index(name) for name in wanted]
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self._mark)
            next(reader, None)
            for row in reader:
                if not any(value.strip() for value in row):
                    continue
                if len(row) != len(self._all):
                    raise DataError(
                        f"{self.path}: line {reader.line_num} has {len(row)} values, but the header names {len(self._all)} "
                        "columns. Put values that hold a separator in quotes."
                    )
                yield f"line {reader.line_num}", [row[place].strip() for place in places]

    def _parquet_rows(self, wanted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        import pandas as pd

        stored = [next(compress(_parquet_columns(self.path), [name == own for own in self._all])) for name in wanted]
        frame = pd.read_parquet(self.path, columns=stored)
        for number, row in enumerate(frame.itertuples(index=False, name=None), 1):
            yield f"row {number}", ["" if pd.isna(value) else _text(value) for value in row]


def _parquet_columns(path: Path) -> list[str]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs an extra package. Install it: pip install 'biotune[parquet]'") from error
    return [str(name) for name in parquet.read_schema(path).names]


def _text(value: Any) -> str:
    """A value as it would stand in a CSV file; whole numbers without a fraction, as tables with gaps keep them as floats."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file.")
    remedy = " Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""
    return DataError(f"{path}: cannot be read as a table ({one_line(error)}).{remedy}")

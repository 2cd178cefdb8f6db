"""The journal of a run: one line per finished trial and generation. An incomplete last line is removed on opening."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from biotune.errors import RunFolderError, one_line
from biotune.store.files import JOURNAL

K = TypeVar("K")


V = TypeVar("V")


JOURNAL_FORMAT = 1


class Journal:
    """One JSON line per finished trial and per finished generation, appended in one write and synced.

    Opening removes an incomplete last line: bytes after the last line break are cut off before anything is appended.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder's journal, or create it.

        Raises:
            RunFolderError: It cannot be written, is of another format, or is damaged other than at its end.
        """
        self.folder = folder
        self._path = folder / JOURNAL
        try:
            self._file = self._path.open("ab+")
            self._cut_torn_tail()
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror}).") from error
        if self._path.stat().st_size == 0:
            self.append({"kind": "header", "format": JOURNAL_FORMAT})
        try:
            header = self.records()[0]
        except RunFolderError:
            self.close()
            raise
        if header.get("kind") != "header" or header.get("format") != JOURNAL_FORMAT:
            self.close()
            raise RunFolderError(f"{self._path}: is of another format; this biotune reads format {JOURNAL_FORMAT}.")

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record; it is on the disk when this returns."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=True) + "\n"
        try:
            self._file.write(line.encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror}).") from error

    def pin(self, name: str, value: Any) -> None:
        """Record a value on which all results of this journal depend; the latest value under a name counts."""
        self.append({"kind": "pin", "name": name, "value": value})

    def pinned(self, name: str) -> Any:
        """The value pinned under a name, or None."""
        notes = [record["value"] for record in self.records("pin") if record.get("name") == name and "value" in record]
        return notes[-1] if notes else None

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All records so far, or those of one kind; the header is the first.

        Raises:
            RunFolderError: A line is not a record.
        """
        self._file.seek(0)
        found = []
        # split as bytes: splitting text would also split at Unicode line separators inside a record's strings
        for number, line in enumerate(self._file.read().split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise RunFolderError(f"{self._path}: line {number} is damaged; the run cannot be resumed from it.")
            found.append(record)
        return [record for record in found if kind is None or record.get("kind") == kind]

    def understood(self, kind: str, read: Callable[[dict[str, Any]], tuple[K, V]]) -> dict[K, V]:
        """Read the records of one kind into a mapping; of two records with one name the later counts.

        Args:
            kind: The kind of record.
            read: Maps a record to its name and value.

        Raises:
            RunFolderError: `read` cannot read a record.
        """
        try:
            return dict(read(record) for record in self.records(kind))
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{self._path}: a {kind} record is damaged ({type(error).__name__}: {one_line(error)}); the run cannot be "
                "resumed from it."
            ) from None

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # `append` has reported the failed write already; closing only repeats it
            self._file.close()

    def _cut_torn_tail(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
            self._file.flush()
            os.fsync(self._file.fileno())

"""The journal of a run: one line for each finished trial and generation. It survives a torn end."""

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
    """One JSON line a finished trial and a finished generation, appended in one write and synced.

    Opening repairs a torn end: what follows the last line break is cut off before anything is appended.
    """

    def __init__(self, folder: Path) -> None:
        """Open or begin a folder's journal.

        Raises:
            RunFolderError: It cannot be written, is of another format, or is damaged other than at its end.
        """
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
        """Append one record; when this returns it is on the disk."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=True) + "\n"
        try:
            self._file.write(line.encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror}).") from error

    def pin(self, name: str, value: Any) -> None:
        """Note what all answers of this journal depend on; the latest note counts."""
        self.append({"kind": "pin", "name": name, "value": value})

    def pinned(self, name: str) -> Any:
        """What was pinned under a name, or None."""
        notes = [record["value"] for record in self.records("pin") if record.get("name") == name and "value" in record]
        return notes[-1] if notes else None

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All whole records so far, or those of one kind; the header is the first.

        Raises:
            RunFolderError: A line is no record.
        """
        self._file.seek(0)
        found = []
        # as bytes: a text would also be split where a string inside a record holds a Unicode line separator
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
        """The records of one kind, each read into a name and a value; of two with one name the later counts.

        Raises:
            RunFolderError: A record lacks something.
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
        with suppress(OSError):  # what could not be written was reported by `append`; closing tries it once more
            self._file.close()

    def _cut_torn_tail(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
            self._file.flush()
            os.fsync(self._file.fileno())

"""The files of a run's folder: their names, and functions that write them atomically. Imports no torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from biotune.errors import RunFolderError

# the files of a run's folder
JOURNAL = "journal.jsonl"
STATUS = "status.json"
RESULT = "result.json"
SCHEDULE = "best_schedule.yaml"
SUGGESTION = "suggestion.yaml"
GENERATIONS = "generations.csv"
SUMMARY = "summary.csv"
CONFIRM = "confirm.csv"
FRONT = "front.csv"
TEST = "test.csv"
CURVES = "curves.csv"
COMPARISON = "comparison.csv"
EVALUATIONS = "evaluations.csv"
PREDICTIONS = "predictions.csv"
CLASSES = "classes.csv"
MODEL = "model.safetensors"
MODEL_FACTS = "model.json"
MISTAKES = "mistakes"  # small images of the surest mistakes, by their row in the predictions
REPORT = "report.html"
PLOTS = "plots"
EXPORT = "export"  # the folder of exported models, by format
LOG = "run.log"
TRACKERS = "trackers.json"  # the run's identity among experiment trackers, and whether each has received all
TENSORBOARD = "tensorboard"
WANDB = "wandb"
LOCK = ".lock"
SEARCH = "search.yaml"  # the settings of a search that a program asks and tells
WARM_START = "warm_start.json"  # the earlier searches that a search starts from, matched to its blocks
CONFIG = ".hydra/config.yaml"
HYDRA = ".hydra/hydra.yaml"
OVERRIDES = ".hydra/overrides.yaml"
EXPORTED_MODEL = {  # format of an exported model → the file that holds it
    "onnx": "model.onnx",
    "torchscript": "model.pt",
    "safetensors": "model.safetensors",
    "timm": "model.safetensors",
}
PREPROCESSING = "preprocessing.json"  # these two beside every exported model
CARD = "README.md"
UNFINISHED = ".unfinished-"  # in the names of files and folders that are being written


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically: temporary name, fsync, rename.

    Args:
        path: The final path, in a folder that exists.
        write: Called with the open file; writes the content.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror}).") from error


def check_writable(path: Path) -> None:
    """Try whether `write_whole` could write a file, before the work whose result it is to hold; nothing is left.

    Args:
        path: The final path.

    Raises:
        RunFolderError: The file cannot be written.
    """
    if os.path.isdir(path):
        raise RunFolderError(f"{path}: cannot be written (it is a folder).")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{UNFINISHED}")
        os.close(handle)
        Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror}).") from error


def umask() -> int:
    """The permissions that new files do not get."""
    current = os.umask(0)
    os.umask(current)
    return current


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; floats read back exactly."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: list[str] | None = None) -> None:
    """Write a CSV file atomically; floats are written as the shortest text that reads back exactly.

    Args:
        path: The final path, in a folder that exists.
        rows: One mapping from column to value per row.
        columns: The columns in order; None takes those of the rows.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    import pandas as pd  # half a second, and most commands write no table

    table = pd.DataFrame(list(rows), columns=columns)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


class GrowingTable:
    """A CSV file that grows, and is always whole on the disk.

    A small table is written after every addition. A large one is written again when a tenth has been added, so that the time
    spent on writing grows with the number of rows and not with its square.
    """

    SMALL = 2000  # rows: a tenth of a second or two

    def __init__(self, path: Path) -> None:
        """Begin without rows; nothing is written yet.

        Args:
            path: The final path, in a folder that exists.
        """
        self._path = path
        self._rows: list[Mapping[str, Any]] = []
        self._written = 0

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, and write the table if that is due.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        self._rows += rows
        if len(self._rows) <= self.SMALL or len(self._rows) >= 1.1 * self._written:
            self._write()

    def close(self) -> None:
        """Write what has been added since the last writing.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        if len(self._rows) > self._written:
            self._write()

    def _write(self) -> None:
        write_table(self._path, self._rows)
        self._written = len(self._rows)


def read_json(path: Path) -> dict[str, Any]:
    """Read the object of a JSON file; empty if the file is missing, damaged, or holds no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

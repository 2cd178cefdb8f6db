"""One run's folder: journal, tables, schedule, status, kept models. Whole files are atomic; the journal survives a torn end.

Knows neither torch at import nor how anything was computed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from biotune.errors import RunFolderError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from biotune.datasets import Data

JOURNAL = "journal.jsonl"
JOURNAL_FORMAT = 1
STATUS = "status.json"
RESULT = "result.json"
MODEL = "model.safetensors"
MODEL_FACTS = "model.json"
MODEL_FORMAT = 1
PREDICTIONS = "predictions.csv"


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is there whole or not at all: temporary name, fsync, rename.

    Args:
        path: Its final name, in a folder that exists.
        write: Writes the content into the open file.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be written ({error.strerror}).") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8."""
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file; floats read back exactly."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], columns: list[str] | None = None) -> None:
    """Write a whole CSV file; floats are written as the shortest text that reads back exactly."""
    table = pd.DataFrame(list(rows), columns=columns)
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


class Journal:
    """One JSON line a finished trial and a finished generation, appended in one write and synced.

    Opening repairs a torn end: what follows the last line break is cut off before anything is appended.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        try:
            self._file = self._path.open("ab+")
            self._cut_torn_tail()
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror}).") from error
        if self._path.stat().st_size == 0:
            self.append({"kind": "header", "format": JOURNAL_FORMAT})

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record; when this returns it is on the disk."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=True) + "\n"
        try:
            self._file.write(line.encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunFolderError(f"{self._path}: cannot be written ({error.strerror}).") from error

    def pin(self, name: str, value: str) -> None:
        """Note what all answers of this journal depend on, or check that it is what was noted before.

        Raises:
            RunFolderError: It was noted with another value: the answers belong to something else.
        """
        noted = [record["value"] for record in self.records() if record["kind"] == "pin" and record["name"] == name]
        if not noted:
            self.append({"kind": "pin", "name": name, "value": value})
        elif noted[0] != value:
            raise RunFolderError(
                f"{self._path.parent}: already holds a run with another {name}; choose another folder or delete it."
            )

    def records(self) -> list[dict[str, Any]]:
        """All whole records so far, the header first."""
        self._file.seek(0)
        # as bytes: a text would also be split where a string inside a record holds a Unicode line separator
        return [json.loads(line) for line in self._file.read().splitlines()]

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


def kept_model(folder: Path, name: str) -> Path:
    """Where a trial's kept model lies until the final one is chosen."""
    return folder / f".kept-{name}.safetensors"


def kept_predictions(folder: Path, name: str) -> Path:
    """Where a trial's kept test predictions lie until the final model is chosen."""
    return folder / f".kept-{name}.csv"


def keep_model(folder: Path, name: str, state: Mapping[str, Tensor], data: Data, probabilities: np.ndarray) -> None:
    """Keep a trained model and its test predictions.

    Args:
        folder: The run's folder.
        name: What tells it from other kept models.
        state: The state dict.
        data: The dataset, for names and classes.
        probabilities: (tests, classes) predicted probabilities.
    """
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = save(tensors)
    write_whole(kept_model(folder, name), lambda file: file.write(content))
    predicted = probabilities.argmax(1)
    write_table(
        kept_predictions(folder, name),
        (
            {
                "picture": data.names[row],
                "true_class": data.classes[data.labels[row]],
                "predicted_class": data.classes[guess],
                "probability": float(probabilities[position, guess]),
            }
            for position, (row, guess) in enumerate(zip(data.test, predicted, strict=True))
        ),
    )


def choose_model(folder: Path, chosen: str, kept: Iterable[str]) -> None:
    """Make one kept model the run's final one and forget the others.

    Args:
        folder: The run's folder.
        chosen: The name it was kept under.
        kept: The names of all that were kept.
    """
    os.replace(kept_model(folder, chosen), folder / MODEL)
    os.replace(kept_predictions(folder, chosen), folder / PREDICTIONS)
    for name in kept:
        kept_model(folder, name).unlink(missing_ok=True)
        kept_predictions(folder, name).unlink(missing_ok=True)

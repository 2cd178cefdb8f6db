"""One run's folder: journal, tables, schedule, status, kept models. Whole files are atomic; the journal survives a torn end.

Knows neither torch at import nor how anything was computed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pandas as pd

from biotune.errors import RunFolderError, one_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from biotune.datasets import Data

K = TypeVar("K")
V = TypeVar("V")
JOURNAL = "journal.jsonl"
JOURNAL_FORMAT = 1
STATUS = "status.json"
RESULT = "result.json"
MODEL = "model.safetensors"
MODEL_FACTS = "model.json"
MODEL_FORMAT = 1
PREDICTIONS = "predictions.csv"
UNFINISHED = ".unfinished-"


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is there whole or not at all: temporary name, fsync, rename.

    Args:
        path: Its final name, in a folder that exists.
        write: Writes the content into the open file.

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


def choose_model(folder: Path, chosen: str) -> None:
    """Make one kept model the run's final one; it stays kept until `forget_kept`, so that a kill in between loses nothing.

    Args:
        folder: The run's folder.
        chosen: The name it was kept under.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    for source, target in ((kept_model(folder, chosen), MODEL), (kept_predictions(folder, chosen), PREDICTIONS)):
        try:
            with source.open("rb") as file:
                write_whole(folder / target, partial(shutil.copyfileobj, file))
        except OSError as error:
            raise RunFolderError(f"{source}: cannot be read ({error.strerror}).") from error


def is_kept(folder: Path, name: str) -> bool:
    """Whether a model and its predictions are kept under a name."""
    return kept_model(folder, name).is_file() and kept_predictions(folder, name).is_file()


def state_of(folder: Path) -> str | None:
    """The state that a folder's `status.json` tells, or None where it tells none."""
    try:
        return str(json.loads((folder / STATUS).read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def settle_state(folder: Path, state: str, error: str) -> None:
    """Tell in `status.json` how a run ended that could not tell it itself.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    status: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        status = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    write_json(folder / STATUS, {**status, "state": state, "error": error})


def model_origin(folder: Path) -> str | None:
    """Key of the training that a folder's final model comes from; None where there is no whole final model."""
    try:
        facts = json.loads((folder / MODEL_FACTS).read_text(encoding="utf-8"))
        whole = (folder / MODEL).is_file() and (folder / PREDICTIONS).is_file()
        return str(facts["training"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_kept(folder: Path) -> None:
    """Remove all kept models, and what killed writers have left of whole files."""
    for file in [*folder.glob(".kept-*"), *folder.glob(f".*{UNFINISHED}*")]:
        file.unlink(missing_ok=True)

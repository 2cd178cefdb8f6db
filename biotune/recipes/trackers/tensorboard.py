"""TensorBoard: event files below `tensorboard/` of a run's folder, one folder for the search and one for each training run.

A training run's folder gets its name when it is complete. The search's own files are read again when a run goes on.
"""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.text import metadata as text
from tensorboard.summary.writer.record_writer import RecordWriter

from biotune.config.tracking import TrackerConfig
from biotune.recipes.trackers.events import ChildRun, End, GenerationRow, ParentRun
from biotune.store.files import SCHEDULE, TENSORBOARD, UNFINISHED

SEARCH, TRIALS = "search", "trials"
_EVERYTHING = {"scalars": 0, "tensors": 0}  # how many values a reader keeps; 0 keeps all


def start(config: TrackerConfig, folder: Path, run: ParentRun) -> TensorBoard:
    """See `open_tracker`."""
    return TensorBoard(folder / TENSORBOARD, run)


class TensorBoard:
    """A session; see `Tracker`."""

    def __init__(self, folder: Path, run: ParentRun) -> None:
        """Begin, or go on.

        Args:
            folder: The folder of all event files.
            run: The run.
        """
        self._trials = folder / TRIALS
        self._trials.mkdir(parents=True, exist_ok=True)
        for torn in self._trials.glob(f"{UNFINISHED}*"):
            shutil.rmtree(torn)
        self._sent = {path.name.rpartition("-")[2] for path in self._trials.iterdir()}
        self._known = _read(folder / SEARCH)
        self._search = _Events(folder / SEARCH)
        self._say("settings", _table(run.settings))

    def trained(self, run: ChildRun) -> None:
        """Write a training run's folder, unless it is there."""
        if run.id in self._sent:
            return
        unfinished = self._trials / f"{UNFINISHED}{run.id}"
        events = _Events(unfinished)
        events.add(_session_start(run))
        for name, values in run.curves.items():
            for epoch, value in enumerate(values, 1):
                events.add(_scalar(name, value), epoch)
        for name, value in run.scores.items():
            events.add(_scalar(f"score/{name}", value), 0)
        if run.error is not None:
            events.add(_text("error", run.error))
        events.add(_session_end(run))
        events.close()
        unfinished.rename(self._trials / f"{run.name} {run.id}".replace(" ", "-").replace("/", "-"))
        self._sent.add(run.id)

    def generation(self, row: GenerationRow) -> None:
        """Write the statistics of a generation."""
        self._write(row.values.items(), row.number)

    def end(self, end: End) -> None:
        """Write the scores and the schedule file; the other files lie in the run's folder anyway."""
        self._write(((f"result/{name}", value) for name, value in end.scores.items()), 0)
        for path in end.files:
            if path.name == SCHEDULE:
                self._say("schedule", f"```\n{path.read_text(encoding='utf-8')}```\n")
        self._search.close()

    def _write(self, values: Iterable[tuple[str, float]], step: int) -> None:
        for name, value in values:
            entry = (name, step, _float32(value))
            if entry not in self._known:
                self._search.add(_scalar(name, value), step)
                self._known.add(entry)
        self._search.flush()

    def _say(self, name: str, markdown: str) -> None:
        if (name, markdown) not in self._known:
            self._search.add(_text(name, markdown))
            self._known.add((name, markdown))
            self._search.flush()


class _Events:
    """One event file. The folder's files are read in the order of their names, which begin with the time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"events.out.tfevents.{time.time():017.6f}"
        self._records = RecordWriter(path.open("xb"))
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, value: Summary.Value, step: int = 0) -> None:
        """Add one value at a step."""
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def flush(self) -> None:
        """Make what was added readable for others."""
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _append(self, event: Event) -> None:
        self._records.write(event.SerializeToString())


def _read(folder: Path) -> set[tuple[Any, ...]]:
    """What earlier sessions wrote into a folder: scalars with step and value, texts with their content."""
    if not folder.is_dir():
        return set()
    found = EventAccumulator(str(folder), size_guidance=_EVERYTHING).Reload()
    scalars = {(name, event.step, _float32(event.value)) for name in found.Tags()["scalars"] for event in found.Scalars(name)}
    texts = {
        (name.removesuffix("/text_summary"), event.tensor_proto.string_val[0].decode())
        for name in found.Tags()["tensors"]
        for event in found.Tensors(name)
    }
    return scalars | texts


def _float32(value: float) -> bytes:
    """A number as event files hold it; unlike NaN, its bytes are equal to themselves."""
    return struct.pack("f", value)


def _scalar(name: str, value: float) -> Summary.Value:
    return Summary.Value(tag=name, simple_value=value)


def _text(name: str, markdown: str) -> Summary.Value:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=shape)
    facts = text.create_summary_metadata(display_name="", description="")
    return Summary.Value(tag=f"{name}/text_summary", metadata=facts, tensor=tensor)


def _table(settings: Mapping[str, str | int | float]) -> str:
    return "\n".join(["|key|value|", "|-|-|", *(f"|{key}|{value}|" for key, value in settings.items())])


def _session_start(run: ChildRun) -> Summary.Value:
    """A training run's row in the table of hyperparameters."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time() - run.seconds)
    for name, value in run.settings.items():
        if isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    return _of_session(hparams.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=info))


def _session_end(run: ChildRun) -> Summary.Value:
    status = api_pb2.STATUS_FAILURE if run.status == "failed" else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    return _of_session(hparams.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=info))


def _of_session(tag: str, data: Any) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=hparams.create_summary_metadata(data), tensor=hparams.NULL_TENSOR)

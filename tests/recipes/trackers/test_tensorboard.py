"""TensorBoard: what its own reader finds in the event files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tracking import RUN, child, end, events, row, tell

from biotune.recipes.trackers.events import FAILED, INTERRUPTED

pytest.importorskip("tensorboard")

from biotune.recipes.trackers.tensorboard import TensorBoard  # noqa: E402


class Read:
    """All that TensorBoard shows of a folder."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

        self._all = EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0}).AddRunsFromDirectory(str(folder)).Reload()

    @property
    def runs(self) -> list[str]:
        return sorted(self._all.Runs())

    def scalars(self, run: str) -> dict[str, list[tuple[int, float]]]:
        names = self._all.Runs()[run]["scalars"]
        return {name: [(event.step, event.value) for event in self._all.Scalars(run, name)] for name in names}

    def texts(self, run: str, name: str) -> list[str]:
        return [event.tensor_proto.string_val[0].decode() for event in self._all.Tensors(run, f"{name}/text_summary")]

    def hparams(self, run: str, tag: str) -> Any:
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        content = self._all.SummaryMetadata(run, f"_hparams_/{tag}").plugin_data.content
        assert plugin_data_pb2.HParamsPluginData.FromString(content).version == metadata.PLUGIN_DATA_VERSION
        return plugin_data_pb2.HParamsPluginData.FromString(content)


def trial(number: int) -> str:
    return f"trials/searching-{number:08x}-fold-0-seed-1-{number:016x}"


def test_a_search_has_its_generations_and_each_training_run_its_curve(tmp_path: Path) -> None:
    tell(TensorBoard(tmp_path / "events", RUN), *events(0, 2), end(tmp_path))
    read = Read(tmp_path / "events")
    assert read.runs == ["search", trial(0), trial(1)]
    search = read.scalars("search")
    assert search["best_fitness"] == [(0, 0.5), (1, 0.375)]
    assert math.isnan(search["mean_fitness"][0][1]) and search["mean_fitness"][1:] == [(1, 0.75)]
    assert search["result/test/macro_accuracy"] == [(0, 0.875)]
    assert read.texts("search", "schedule") == ["```\nbase_lr: 0.5\n```\n"]
    assert "|training.lr|0.5|" in read.texts("search", "settings")[0]
    own = read.scalars(trial(1))
    assert own["val_macro_accuracy"] == [(1, 0.5), (2, 0.75)]
    assert own["val_loss"] == [(1, 1.5), (2, 1.25)]
    assert own["score/best_val_macro_accuracy"] == [(0, 0.75)] and own["score/seconds"] == [(0, 2.5)]


def test_the_table_of_hyperparameters_holds_each_schedule(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import api_pb2

    tell(TensorBoard(tmp_path, RUN), child(0), child(1, "failed"), end(tmp_path, FAILED))
    read = Read(tmp_path)
    settings = read.hparams(trial(0), "session_start_info").session_start_info.hparams
    assert settings["lr.head"].number_value == 0.25 and settings["frozen"].string_value == "stem"
    states = [read.hparams(trial(number), "session_end_info").session_end_info.status for number in (0, 1)]
    assert states == [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    assert read.texts(trial(1), "error") == ["loss is not finite"]


def test_it_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    tracker = TensorBoard(tmp_path, RUN)
    tell(tracker, *events(0, 1))
    assert Read(tmp_path).scalars("search")["best_fitness"] == [(0, 0.5)]
    tell(tracker, *events(1, 2))
    assert Read(tmp_path).scalars("search")["best_fitness"] == [(0, 0.5), (1, 0.375)]


def test_a_run_that_goes_on_is_written_once(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    tell(TensorBoard(once, RUN), *events(0, 3), end(tmp_path))
    tell(TensorBoard(twice, RUN), *events(0, 2), end(tmp_path, INTERRUPTED))
    tell(TensorBoard(twice, RUN), *events(0, 3), end(tmp_path))
    tell(TensorBoard(twice, RUN), *events(0, 3), end(tmp_path))
    assert Read(twice).runs == Read(once).runs
    for run in Read(once).runs:
        assert repr(Read(twice).scalars(run)) == repr(Read(once).scalars(run)), run  # NaN is not equal to itself
    for name in ("settings", "schedule"):
        assert Read(twice).texts("search", name) == Read(once).texts("search", name)


def test_what_a_killed_session_leaves_is_completed(tmp_path: Path) -> None:
    killed = TensorBoard(tmp_path, RUN)
    tell(killed, child(0), row(0))
    torn = tmp_path / "trials" / ".unfinished-1"
    torn.mkdir()
    (torn / "events.out.tfevents.1").write_bytes(b"half")
    (file,) = (tmp_path / "search").iterdir()
    with file.open("ab") as content:
        content.write(b"\x20\0\0\0\0\0\0\0half a record")
    tell(TensorBoard(tmp_path, RUN), *events(0, 2), end(tmp_path))
    read = Read(tmp_path)
    assert read.runs == ["search", trial(0), trial(1)]
    assert read.scalars("search")["best_fitness"] == [(0, 0.5), (1, 0.375)]

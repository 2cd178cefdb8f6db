"""What stands in `status.json` while a command works and however it ends."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biotune.config.schema import TrialsConfig
from biotune.config.sections import BackboneConfig, DatasetConfig, ExecutorConfig, TrainingConfig
from biotune.errors import BackboneError, ConfigError, RunFolderError
from biotune.recipes.inputs import Prepared
from biotune.recipes.progress import SILENCE
from biotune.recipes.session import open_session
from biotune.strategies.registry import fixed_schedule
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials


def config(**more: Any) -> TrialsConfig:
    sections: dict[str, Any] = {
        "device": "cpu",
        "dataset": DatasetConfig("digits", "digits", max_per_class=4, max_eval_per_class=4),
        "backbone": BackboneConfig("biotune", "glyphnet"),
        "training": TrainingConfig(lr=3e-3, epochs=1),
        "executor": ExecutorConfig("in_process"),
    }
    return TrialsConfig(**(sections | more))


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def test_a_command_that_ends_well_is_running_and_then_finished(tmp_path: Path) -> None:
    with open_session("train", config(), tmp_path, SILENCE) as session:
        within = status(tmp_path)
        trial = Trial(fixed_schedule("full", session.network.blocks), 0, 3, 1, LR)
        told: list[Trial] = []
        session.executor.on_result = lambda trial, _: told.append(trial)
        [result] = session.executor.run([trial])
    assert within["state"] == "running"
    assert within["finished"] is None
    assert result.status == "ok"
    assert told == [trial]
    after = status(tmp_path)
    assert (after["command"], after["state"], after["error"], after["device"]) == ("train", "finished", None, "cpu")
    assert datetime.datetime.fromisoformat(after["finished"]) >= datetime.datetime.fromisoformat(after["started"])
    assert after["versions"].keys() >= {"python", "biotune", "torch", "numpy"}
    journal = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    [trained] = [record for record in journal if record["kind"] == "trial"]
    assert trained["key"] == trial.key
    assert tuple(trained["curve"]) == result.curve


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("first\n  second"), "ValueError: first second"),
        (ConfigError("training.lr=0: must be\ngreater than 0."), "training.lr=0: must be greater than 0."),
        (ZeroDivisionError(), "ZeroDivisionError:"),
    ],
)
def test_a_command_that_fails_says_why_in_one_line_and_raises(error: Exception, text: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), open_session("run", config(), tmp_path, SILENCE):
        raise error
    after = status(tmp_path)
    assert (after["state"], after["error"]) == ("failed", text)
    assert after["finished"] is not None


@pytest.mark.parametrize(
    ("broken", "error", "key"),
    [
        ({"device": "cuda:99"}, ConfigError, "device=cuda:99"),
        ({"backbone": BackboneConfig("biotune", "glifnet")}, BackboneError, "backbone.name=glifnet"),
    ],
)
def test_what_is_wrong_before_the_first_training_stands_in_the_status_too(
    broken: dict[str, Any], error: type[Exception], key: str, tmp_path: Path
) -> None:
    with pytest.raises(error), open_session("run", config(**broken), tmp_path, SILENCE):
        pytest.fail("must not begin")
    assert status(tmp_path)["state"] == "failed"
    assert status(tmp_path)["error"].startswith(key)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_command_that_is_stopped_is_interrupted(stop: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(stop), open_session("run", config(), tmp_path, SILENCE):
        raise stop
    after = status(tmp_path)
    assert (after["state"], after["error"]) == ("interrupted", None)
    assert after["finished"] is not None


def test_an_interrupt_in_mid_training_leaves_what_was_done_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biotune.training import finetune as loop
    from biotune.training.finetune import finetune

    real, calls = finetune, []

    def interrupted_in_the_second(trial: Trial, workspace: Any) -> Any:
        calls.append(trial.seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(trial, workspace)

    monkeypatch.setattr(loop, "finetune", interrupted_in_the_second)
    with pytest.raises(KeyboardInterrupt), open_session("run", config(), tmp_path, SILENCE) as session:
        schedule = fixed_schedule("linear_probe", session.network.blocks)
        session.executor.run([Trial(schedule, 0, seed, 1, LR) for seed in (1, 2, 3)])
    assert status(tmp_path)["state"] == "interrupted"
    # the same trials again: the one on record is answered, the others are trained
    with open_session("run", config(), tmp_path, SILENCE) as session:
        session.executor.run([Trial(schedule, 0, seed, 1, LR) for seed in (1, 2, 3)])
    assert calls == [1, 2, 2, 3]
    assert status(tmp_path)["state"] == "finished"


def test_a_folder_that_cannot_be_written_is_an_error_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="gone"), open_session("run", config(), tmp_path / "gone", SILENCE):
        pytest.fail("must not begin")


def test_a_folder_that_fails_in_between_is_told_by_its_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    with (
        pytest.raises(RunFolderError, match=r"journal\.jsonl.*No space left"),
        open_session("run", config(), tmp_path, SILENCE) as session,
    ):
        monkeypatch.setattr(os, "fsync", full)
        session.executor.run([Trial(fixed_schedule("linear_probe", session.network.blocks), 0, 1, 1, LR)])


def test_a_run_takes_what_its_check_has_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biotune.datasets.data import load_dataset
    from biotune.recipes import inputs

    real: Callable[..., Any] = load_dataset
    decoded: list[int] = []
    monkeypatch.setattr(inputs, "load_dataset", lambda *arguments: (decoded.append(1), real(*arguments))[1])
    once = config(dataset=DatasetConfig("digits", "digits", max_per_class=3, max_eval_per_class=3))
    prepared = Prepared()
    prepared.check(once, SILENCE.decoding)
    with open_session("run", once, tmp_path, SILENCE, prepared):
        pass
    assert decoded == [1]
    # other images are not answered with these
    other = config(dataset=DatasetConfig("digits", "digits", max_per_class=3, shift="invert"))
    data = prepared.take(other, SILENCE.decoding).data
    assert decoded == [1, 1]
    assert data.pixels.mean() > 128

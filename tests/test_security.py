"""No file that a user is handed can name code to run; what else is promised stands beside what it is promised of.

Weights: tests/backbones/test_weights_file.py. Archives and downloads: tests/datasets/test_download.py. CIFAR's pickles:
tests/datasets/test_torchvision.py. MedMNIST's arrays: tests/datasets/test_medmnist.py. Images that decode to too much:
tests/datasets/test_catalogue.py. Names on pages: tests/report.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import biotune
from biotune.cli import main
from biotune.errors import ScheduleError

CALLS = ["!!python/object/apply:os.system", "!!python/object/apply:pathlib.Path.touch", "!!python/name:os.system"]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["biotune"])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", ["format: 1\nthreshold: {}\nblocks: {{}}\n", "{}\n", "format: 1\nblocks:\n  stem: {}\n"])
def test_a_schedule_file_runs_nothing(tmp_path: Path, call: str, place: str) -> None:
    (tmp_path / "evil.yaml").write_text(place.format(f"{call} ['touch {tmp_path / 'ran'}']"))
    with pytest.raises(ScheduleError):
        biotune.load_schedule(tmp_path / "evil.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("override", ["+dataset._target_=os.system", "dataset._target_=os.system", "+_target_=os.abort"])
def test_an_override_cannot_name_code(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", override]) == 2
    said = capsys.readouterr().err
    assert "_target_" in said and "no such key" in said and "Traceback" not in said


@pytest.mark.parametrize(
    "content",
    [
        "_target_: os.system\nloader: digits\nname: digits\n",
        "loader: digits\nname: !!python/object/apply:os.system ['touch ran']\n",
        "loader: os.system\nname: touch ran\n",
    ],
)
def test_a_config_of_the_users_own_folder_cannot_name_code(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "evil.yaml").write_text(content)
    assert main(["run", "--config-dir", "mine", "dataset=evil", "experiment=smoke"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["executor.name", "evolution.algorithm", "training.optimizer", "backbone.library"])
def test_names_are_looked_up_and_never_imported(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"{key}=os.system"]) == 2
    assert "Traceback" not in capsys.readouterr().err

"""`biotune resume` and sweeps that go on: nothing is trained twice, and the outcome is that of an untroubled run."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trees import folder_tree, write_image

import biotune as biotune_package
from biotune.cli import main
from biotune.store.files import JOURNAL
from biotune.training import finetune as loop
from biotune.training.finetune import finetune
from biotune.trial import Trial

SMALL = [
    "experiment=smoke",
    "evolution.folds=2",
    "evolution.generations=2",
    "training.epochs=3",
    "training.lr=0.003",
    "training.seeds=[1,4]",
    "fitness.prune=median",
    "fitness.racing=true",
    "confirm.top_k=2",
    "test.seeds=[3,5]",
]
TABLES = ("generations.csv", "summary.csv", "confirm.csv", "test.csv")
WHOLE = ("best_schedule.yaml", "model.safetensors", "model.json", "predictions.csv")
HOLD = """
import sys
from pathlib import Path
from biotune.store.lock import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

Command = Callable[..., Any]
Snapshot = Callable[[Path], Any]


class Trainings:
    """Watches trainings, and interrupts one of them, counted from 1."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[Trial] = []
        self.interrupted: int | None = None
        real = finetune

        def watched(trial: Trial, workspace: Any) -> Any:
            if len(self.asked) + 1 == self.interrupted:
                self.interrupted = None
                raise KeyboardInterrupt
            self.asked.append(trial)
            return real(trial, workspace)

        patch.setattr(loop, "finetune", watched)

    @property
    def keys(self) -> list[str]:
        return [trial.key for trial in self.asked]


@pytest.fixture(autouse=True)
def reports(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The runs whose page would have been written; pages have tests of their own."""
    asked: list[object] = []
    monkeypatch.setattr("biotune.recipes.run.write_report", asked.append)
    return asked


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    return Trainings(monkeypatch)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Trial]]]:
    """A run that nothing disturbed, and its trainings."""
    root = tmp_path_factory.mktemp("twin")
    loggers = [logging.getLogger(), logging.getLogger("hydra")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["biotune"])
        patch.setattr("biotune.recipes.run.write_report", lambda run: None)
        watch = Trainings(patch)
        assert main(["run", "-q", *SMALL, "hydra.run.dir=out"]) == 0
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
    yield root / "out", watch.asked


@pytest.fixture
def finished(twin: tuple[Path, list[Trial]], here: Path) -> Path:
    """A copy of the undisturbed run, as if it had been begun here."""
    shutil.copytree(twin[0], here / "out")
    hydra = here / "out/.hydra/hydra.yaml"
    hydra.write_text(hydra.read_text().replace(str(twin[0].parent), str(here)))
    return here / "out"


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run's files say, but for times."""
    found: dict[str, Any] = {name: (folder / name).read_bytes() for name in WHOLE}
    for name in TABLES:
        rows = [line.split(",") for line in (folder / name).read_text().splitlines()]
        keep = [index for index, title in enumerate(rows[0]) if "seconds" not in title]
        found[name] = [[row[index] for index in keep] for row in rows]
    return found


def state(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["state"]


def call_number(trials: list[Trial], phase: str) -> int:
    """The number of a training in the midst of a phase, counted from 1."""
    confirming = [number for number, trial in enumerate(trials, 1) if not trial.test and trial.seed == 2]
    testing = [number for number, trial in enumerate(trials, 1) if trial.test]
    return {"search": 11, "confirmation": confirming[1], "final": testing[1]}[phase]


def assert_refused(said: Any, *words: str) -> None:
    assert said.status == 2, said.err
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.startswith("biotune: ") and said.out == ""
    for word in words:
        assert word in said.err


class TestInterruptedRuns:
    @pytest.mark.parametrize("phase", ["search", "confirmation", "final"])
    def test_one_resumed_equals_one_that_was_never_interrupted(
        self,
        phase: str,
        twin: tuple[Path, list[Trial]],
        biotune: Command,
        here: Path,
        trainings: Trainings,
        reports: list[object],
    ) -> None:
        trainings.interrupted = call_number(twin[1], phase)
        said = biotune("run", "-q", *SMALL, "hydra.run.dir=out")
        assert (said.status, state(here / "out")) == (130, "interrupted")
        assert f"biotune resume {here / 'out'}" in said.err
        done = len(trainings.asked)
        said = biotune("resume", "-q", "out")
        assert (said.status, said.err) == (0, "")
        assert state(here / "out") == "finished"
        assert 0 < done < len(trainings.asked)
        # each training of the twin was made exactly once, in the same order
        assert trainings.keys == [trial.key for trial in twin[1]]
        assert outcome(here / "out") == outcome(twin[0])
        assert not list((here / "out").glob(".kept*"))
        assert len(reports) == 1

    @pytest.mark.slow
    def test_one_interrupted_again_and_again_comes_to_the_same_end(
        self, twin: tuple[Path, list[Trial]], biotune: Command, here: Path, trainings: Trainings
    ) -> None:
        trainings.interrupted = 1
        command = ["run", "-q", *SMALL, "hydra.run.dir=out"]
        for _ in range(12):
            if biotune(*command).status == 0:
                break
            trainings.interrupted = len(trainings.asked) + 9
            command = ["resume", "-q", "out"]
        assert trainings.keys == [trial.key for trial in twin[1]]
        assert outcome(here / "out") == outcome(twin[0])

    def test_one_may_go_on_with_another_executor(self, finished: Path, biotune: Command, trainings: Trainings) -> None:
        (finished / "status.json").write_text('{"state": "interrupted"}')
        assert biotune("resume", "-q", "out", "executor.name=process_pool", "executor.workers=1").status == 0
        assert trainings.asked == []
        assert "name: process_pool" in (finished / ".hydra/config.yaml").read_text()
        assert state(finished) == "finished"

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("training.lr=0.1", ["training.lr=0.003, now 0.1"]),
            ("executor.threads=2", ["executor.threads=1, now 2"]),
            ("seed=9", ["seed=0, now 9"]),
            ("evolution.generations=1", ["evolution.generations=2, now 1"]),
            ("training.seeds=[1,5]", ["training.seeds=[1,4], now [1,5]"]),
            ("dataset=cub", ["dataset=cub", "keeps its choices of groups"]),
            ("training.lr=1,2", ["one value per key"]),
            ("hydra.run.dir=elsewhere", ["hydra.run.dir", "stays in its folder"]),
            ("trainin.lr=1", ["trainin.lr=1: no such key", "training.lr"]),
            ("training.lr=fast", ["training.lr=fast", "must be a number"]),
            ("training.epochs=0", ["training.epochs=0", "at least 1"]),
            ("--frob", ["--frob", "biotune resume --help"]),
        ],
    )
    def test_other_settings_are_refused_with_key_before_and_after_and_nothing_is_changed(
        self, override: str, words: list[str], finished: Path, biotune: Command, snapshot: Snapshot
    ) -> None:
        (finished / "status.json").write_text('{"state": "interrupted"}')
        before = snapshot(finished)
        assert_refused(biotune("resume", "out", override), *words)
        assert snapshot(finished) == before


class TestFinishedRuns:
    def test_one_is_refused(self, finished: Path, biotune: Command, snapshot: Snapshot) -> None:
        before = snapshot(finished)
        assert_refused(biotune("resume", "out"), "out: has finished", "evolution.generations=N")
        assert_refused(biotune("resume", "out", "executor.name=process_pool"), "out: has finished")
        assert snapshot(finished) == before

    def test_one_made_longer_equals_one_that_was_as_long_from_the_start(
        self, finished: Path, twin: tuple[Path, list[Trial]], biotune: Command, here: Path, trainings: Trainings
    ) -> None:
        assert biotune("resume", "-q", "out", "evolution.generations=3").status == 0
        added = trainings.keys
        trainings.asked.clear()
        assert biotune("run", "-q", *SMALL, "evolution.generations=3", "hydra.run.dir=long").status == 0
        assert outcome(here / "out") == outcome(here / "long")
        assert state(finished) == "finished"
        before = {trial.key for trial in twin[1]}
        assert added and not before & set(added)
        assert set(trainings.keys) <= before | set(added)
        assert "generations: 3" in (finished / ".hydra/config.yaml").read_text()


class TestFolders:
    def test_a_missing_one_is_refused(self, biotune: Command, here: Path) -> None:
        assert_refused(biotune("resume", "nowhere"), "nowhere: no such folder")
        (here / "file").write_text("")
        assert_refused(biotune("resume", "file"), "file: no such folder")
        assert_refused(biotune("resume"), "DIR", "biotune resume --help")

    def test_one_without_a_run_is_refused_and_stays_empty(self, biotune: Command, here: Path) -> None:
        (here / "empty").mkdir()
        assert_refused(biotune("resume", "empty"), "empty: holds no run", "config.yaml")
        assert list((here / "empty").iterdir()) == []

    def test_a_sweeps_is_told_how_a_sweep_goes_on(self, finished: Path, biotune: Command, here: Path) -> None:
        (here / "sweep").mkdir()
        shutil.copytree(finished, here / "sweep/0")
        assert_refused(biotune("resume", "sweep"), "sweep: holds a sweep", "hydra.sweep.dir=sweep")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"training: {lr: [",
            b"- 1\n- 2\n",
            b"\xff\xfe\x00",
            b"training:\n  lr: fast\n",
            b"frob: 1\n",
            b"just words",
            b"3",
        ],
    )
    def test_one_with_a_torn_config_is_refused(
        self, content: bytes, finished: Path, biotune: Command, snapshot: Snapshot
    ) -> None:
        (finished / "status.json").write_text('{"state": "interrupted"}')
        (finished / ".hydra/config.yaml").write_bytes(content)
        before = snapshot(finished)
        said = biotune("resume", "out")
        assert_refused(said, "out")
        assert "Traceback" not in said.err
        assert snapshot(finished) == before

    def test_one_with_a_damaged_journal_is_refused(self, finished: Path, biotune: Command, snapshot: Snapshot) -> None:
        (finished / "status.json").write_text('{"state": "interrupted"}')
        lines = (finished / JOURNAL).read_bytes().split(b"\n")
        (finished / JOURNAL).write_bytes(b"\n".join([*lines[:3], lines[3][:20], *lines[4:]]))
        before = snapshot(finished)
        assert_refused(biotune("resume", "out"), "journal.jsonl: line 4 is damaged")
        assert snapshot(finished) == before

    def test_one_that_another_process_works_on_is_refused(self, finished: Path, biotune: Command, snapshot: Snapshot) -> None:
        (finished / "status.json").write_text('{"state": "interrupted"}')
        before = snapshot(finished)
        command = [sys.executable, "-c", HOLD, str(finished)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            assert_refused(biotune("resume", "out"), "another process is working on it")
            other.communicate("")
        assert snapshot(finished) == before


SWEEP = ["run", "-q", "-m", "experiment=smoke", "seed=1,2", "hydra.sweep.dir=sweep"]


class TestSweeps:
    @pytest.mark.slow
    def test_the_same_one_again_trains_only_what_is_missing_and_another_is_refused(
        self, biotune: Command, here: Path, snapshot: Snapshot, jobs_in_this_process: None
    ) -> None:
        assert biotune(*SWEEP).status == 0
        result = json.loads((here / "sweep/1/result.json").read_text())

        jobs = {job: snapshot(here / "sweep" / job) for job in "01"}
        said = biotune(*SWEEP)
        assert said.status == 0
        assert {job: snapshot(here / "sweep" / job) for job in "01"} == jobs
        assert "job 0: experiment=smoke seed=1: has finished already" in said.out
        assert "job 1: experiment=smoke seed=2: has finished already" in said.out

        shutil.rmtree(here / "sweep/1")
        said = biotune(*SWEEP)
        assert said.status == 0
        assert (
            "job 0: experiment=smoke seed=1: has finished already" in said.out
            and "job 1: experiment=smoke seed=2: has" not in said.out
        )
        assert snapshot(here / "sweep/0") == jobs["0"]
        assert outcome_without_times(here / "sweep/1/result.json") == without_seconds(result)

        before = snapshot(here)
        other = [word.replace("seed=1,2", "seed=1,3") for word in SWEEP]
        assert_refused(biotune(*other), "seed=2, now 3")
        assert_refused(biotune(*SWEEP, "training.lr=0.5"), "training.lr=", "now 0.5")
        assert snapshot(here) == before


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_seconds(inner) for name, inner in value.items() if name != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


def outcome_without_times(path: Path) -> Any:
    return without_seconds(json.loads(path.read_text()))


class TestElsewhere:
    """A run goes on where its folder, its images and its weights lie under other paths: what they hold decides."""

    COMMAND = ["run", "-q", "experiment=smoke", "dataset=folder", "hydra.run.dir=out"]

    @pytest.fixture
    def first_machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Path) -> Path:
        """A working folder with images and weights in it."""
        place = tmp_path / "first"
        folder_tree(place / "ferns", {"maidenhair": 10, "bracken": 10})
        bundled = next((Path(biotune_package.__file__).parent / "backbones/weights").glob("glyphnet*.safetensors"))
        shutil.copy(bundled, place / "own.safetensors")
        monkeypatch.chdir(place)
        return place

    @pytest.mark.parametrize("relative", [True, False])
    def test_one_interrupted_and_moved_equals_one_that_stayed(
        self,
        relative: bool,
        first_machine: Path,
        tmp_path: Path,
        biotune: Command,
        trainings: Trainings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        named = Path() if relative else first_machine
        given = [f"dataset.root={named / 'ferns'}", f"backbone.weights={named / 'own.safetensors'}"]
        assert biotune(*self.COMMAND, *given).status == 0
        undisturbed = outcome(first_machine / "out")
        shutil.rmtree(first_machine / "out")
        whole, trainings.asked = trainings.keys, []

        trainings.interrupted = 6
        assert biotune(*self.COMMAND, *given).status == 130
        second = tmp_path / "second/machine"
        second.mkdir(parents=True)
        monkeypatch.chdir(second)
        shutil.copytree(first_machine / "out", second / "runs/moved")
        shutil.copytree(first_machine / "ferns", second / "data/ferns", copy_function=shutil.copyfile)  # all times are new
        shutil.move(first_machine / "own.safetensors", second / "own.safetensors")
        shutil.rmtree(first_machine)
        monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "another cache"))

        said = biotune("resume", "-q", "runs/moved", "dataset.root=data/ferns", "backbone.weights=own.safetensors")
        assert (said.status, said.err) == (0, "")
        assert trainings.keys == whole
        moved = outcome(second / "runs/moved")
        for found in (moved, undisturbed):  # the schedule's header names the file of weights as it was given
            lines = found["best_schedule.yaml"].splitlines()
            found["best_schedule.yaml"] = [line for line in lines if not line.startswith(b"weights:")]
        assert moved == undisturbed

    def test_other_images_and_other_weights_under_the_same_names_are_refused(
        self, first_machine: Path, biotune: Command, trainings: Trainings, tmp_path: Path
    ) -> None:
        trainings.interrupted = 6
        given = ["dataset.root=ferns", "backbone.weights=own.safetensors"]
        assert biotune(*self.COMMAND, *given).status == 130
        shutil.copytree(first_machine / "ferns", tmp_path / "ferns")
        write_image(tmp_path / "ferns/bracken/003.png", 250)
        said = biotune("resume", "-q", "out", f"dataset.root={tmp_path / 'ferns'}")
        assert said.status == 1
        assert "images, labels or splits have changed since the run began" in said.err
        said = biotune("resume", "-q", "out", "dataset.root=ferns", "backbone.weights=none")
        assert said.status == 1
        assert "the weights that training starts from have changed since the run began" in said.err
        trainings.asked.clear()
        assert biotune("resume", "-q", "out", "dataset.root=ferns", "backbone.weights=own.safetensors").status == 0

"""Classifying files and folders of any size: forms of output, what is skipped, and how much is held in memory."""

from __future__ import annotations

import csv
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import biotune as library
from biotune.backbones.network import Preprocessing
from biotune.cli import main
from biotune.errors import DataError
from biotune.training import model as models
from biotune.training.model import Model, image_files

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe of digits."""
    folder = tmp_path_factory.mktemp("probe") / "run"
    small = ["training.epochs=1", "test.seeds=[1]", "dataset.max_per_class=5", "dataset.max_eval_per_class=2"]
    assert main(["train", "strategy=linear_probe", *small, "executor=in_process", f"hydra.run.dir={folder}", "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of noise in two folders, and two files that are none."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/4.png", "b/5.png", "b/6.png", "c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    (folder / "a/2b.png").write_text("no image")
    (folder / "b/7.jpg").write_bytes(b"")
    return folder


def test_all_forms_of_output_say_the_same_whatever_the_batches(biotune: Command, run_folder: Path, images: Path) -> None:
    for size in ("1", "2", "64"):
        flags = ["--top", "2", "--csv", f"{size}.csv", "--jsonl", f"{size}.jsonl", "--batch-size", size]
        said = biotune("predict", str(run_folder), str(images), *flags, "--json")
        assert said.status == 1
        broken = said.err.splitlines()
        assert [line.partition(": cannot be decoded")[0] for line in broken] == [
            f"biotune: {images / name}" for name in ("a/2b.png", "b/7.jpg")
        ]
        rows = list(csv.DictReader(Path(f"{size}.csv").read_text().splitlines()))
        printed = json.loads(said.out)["predictions"]
        lines = [json.loads(line) for line in Path(f"{size}.jsonl").read_text().splitlines()]
        good = [str(images / name) for name in ("a/1.png", "a/2.png", "a/3.png", "b/4.png", "b/5.png", "b/6.png", "c.png")]
        assert [line["image"] for line in lines] == good
        assert [row["picture"] for row in rows] == [row["picture"] for row in printed] == [name for name in good for _ in "12"]
        flat = [entry for line in lines for entry in line["classes"]]
        assert [entry["class"] for entry in flat] == [row["class"] for row in rows] == [row["class"] for row in printed]
        probabilities = [entry["probability"] for entry in flat]
        assert probabilities == [float(row["probability"]) for row in rows] == [row["probability"] for row in printed]
        model = library.load_model(run_folder)
        expected = model.probabilities(good).topk(2).values.flatten().tolist()
        assert probabilities == pytest.approx(expected, abs=1e-6)


def test_lines_are_printed_instead_of_the_table(biotune: Command, run_folder: Path, images: Path) -> None:
    said = biotune("predict", str(run_folder), str(images / "c.png"), "--jsonl", "-", "--top", "1")
    assert said.status == 0
    (line,) = said.out.splitlines()
    assert json.loads(line)["image"] == str(images / "c.png")


def test_a_mirror_image_counts_as_much(biotune: Command, run_folder: Path, images: Path, tmp_path: Path) -> None:
    with Image.open(images / "c.png") as image:
        ImageOps.mirror(image).save(tmp_path / "mirrored.png")
    model = library.load_model(run_folder)
    both = model.probabilities([images / "c.png", tmp_path / "mirrored.png"])
    assert not torch.allclose(both[0], both[1])
    flipped = ["predict", str(run_folder), str(images / "c.png"), "--tta", "flip", "--top", "10", "--jsonl", "-"]
    found = {entry["class"]: entry["probability"] for entry in json.loads(biotune(*flipped).out)["classes"]}
    assert [found[name] for name in model.classes] == pytest.approx(both.mean(0).tolist(), abs=1e-6)


def test_a_terminal_shows_how_far_it_is(
    biotune: Command, run_folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = biotune("predict", str(run_folder), str(images), "--jsonl", "-")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("TERM", "xterm")
    said = biotune("predict", str(run_folder), str(images), "--jsonl", "-")
    assert "classifying" in said.err and "9/9" in said.err
    assert "classifying" not in silent.err
    assert said.out == silent.out, "what is piped holds no trace of it"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-size", "0"], "--batch-size 0: must be at least 1"),
        (["--json", "--jsonl", "-"], "--json and --jsonl - contradict each other"),
        (["--jsonl", "nowhere/out.jsonl"], "--jsonl nowhere/out.jsonl: nowhere is not a folder"),
        (["--tta", "rotate"], "rotate"),
    ],
)
def test_wrong_flags_are_refused_in_a_line(biotune: Command, here: Path, flags: list[str], words: str) -> None:
    said = biotune("predict", "run", "images", *flags)
    assert (said.status, said.out) == (2, "")
    assert words in said.err.splitlines()[-1]
    assert list(here.iterdir()) == []


def test_no_more_images_are_drawn_than_one_mini_batch_ahead(images: Path) -> None:
    drawn = 0

    def files() -> Iterator[Path]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield images / "c.png"

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
    model = Model(module, Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3), ("cat", "dog"), torch.device("cpu"))
    found = model.classified(files(), batch_size=8)
    for taken in range(1, 101):
        next(found)
        assert drawn == min(8 * -(-taken // 8), 100)


def test_a_folder_is_listed_when_its_turn_comes(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    files = image_files([str(tmp_path)])
    assert next(files) == tmp_path / "a/1.png"
    (tmp_path / "b/3.png").touch()
    assert list(files) == [tmp_path / "b/2.png", tmp_path / "b/3.png"]
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="there is no image to classify"):
        list(image_files([str(tmp_path / "c")]))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A model that classifies a number of images that are not there."""

    def of(count: int) -> None:
        # pathlib interns names: new ones make the interpreter's own table grow now and then, by megabytes at once
        names = [sys.intern(f"{number:06}.png") for number in range(count)]

        def classified(files: Any, batch_size: int, tta: str) -> Iterator[tuple[Path, torch.Tensor]]:
            for name in names:
                yield Path(name), torch.tensor([0.25, 0.75])

        model = SimpleNamespace(classes=("cat", "dog"), classified=classified)
        monkeypatch.setattr(models, "load_model", lambda folder, device: model)

    return of


def test_a_long_table_is_printed_in_parts_and_is_complete(
    biotune: Command, here: Path, counting: Callable[[int], None]
) -> None:
    counting(2100)
    (here / "image.png").touch()
    out = biotune("predict", "run", "image.png", "--top", "1").out
    assert [line for line in out.splitlines() if line.startswith("images ")] == [
        "images 1 to 1,000",
        "images 1,001 to 2,000",
        "images 2,001 to 2,100",
    ]
    assert [line.split()[0] for line in out.splitlines() if ".png" in line] == [f"{number:06}.png" for number in range(2100)]


def test_memory_does_not_grow_with_the_number_of_images(here: Path, counting: Callable[[int], None]) -> None:
    (here / "image.png").touch()
    peaks = []
    for count in (100, 2_000, 10_000):  # the first one pays for imports
        counting(count)
        with (here / "printed").open("w") as printed, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", printed)  # what captures it in tests would hold it in memory
            tracemalloc.start()
            assert main(["predict", "run", "image.png", "--csv", "out.csv", "--jsonl", "-", "--top", "2"]) == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert len((here / "printed").read_text().splitlines()) == count
        assert len((here / "out.csv").read_text().splitlines()) == 1 + 2 * count
    assert peaks[2] < 1.1 * peaks[1]

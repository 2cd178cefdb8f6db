"""Tests of `biotune data check`, `biotune data cache` and `biotune list datasets`."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biotune.backbones.network import Preprocessing
from biotune.cli import main
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.decoded import decode
from biotune.datasets.loaders import folder
from biotune.datasets.shards import unfinished


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a cache of its own."""
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def images(root: Path, count: int = 4) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.full((12, 14, 3), 20 * number, dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def fill(root: Path, name: str, crop: int = 8) -> None:
    """Decode a folder of images into the cache."""
    source = folder.load(DatasetConfig("folder", name, root=str(root)))
    decode(source, np.arange(len(source.names)), Preprocessing(10, crop, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


def test_a_whole_copy_is_confirmed_and_leaves_no_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "dataset=digits", "page=null"]) == 0
    out = capsys.readouterr().out
    assert "1,397" in out and "differs" not in out and "the copy is complete" in out and "data_check.html" not in out
    assert list(here.iterdir()) == []
    assert main(["data", "check", "dataset=digits"]) == 0
    assert "page       data_check.html" in capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == ["data_check.html"]


def test_a_broken_image_is_named_with_status_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images(here / "images", 8)
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}"]) == 0
    assert "Every image can be decoded.\n" in capsys.readouterr().out  # nobody knows how many there should be
    (root / "dog" / "2.png").write_bytes((root / "dog" / "2.png").read_bytes()[:50])
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}"]) == 1
    out = capsys.readouterr().out
    assert "broken: dog/2.png (" in out and "1 broken image. Replace or remove" in out
    sizes = re.search(r"A run without the broken ones trains on (\d+) images, validates on (\d) and tests on (\d)", out)
    assert sizes is not None and sum(map(int, sizes.groups())) == 15
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}", "--json"]) == 1
    assert list(json.loads(capsys.readouterr().out)["splits"].values()) == list(map(int, sizes.groups()))
    page = Path("data_check.html").read_text()
    assert "1 broken image." in page[page.index("What to look at") :]
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}", "dataset.skip_broken=true"]) == 1
    out = capsys.readouterr().out
    assert "1 broken image. Runs with dataset.skip_broken=true leave out what is broken." in out and "or set" not in out


def test_a_run_that_would_lack_a_class_without_the_broken_images_is_foretold(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = here / "images"
    for split in ("train", "val", "test"):
        images(root / split, 1 if split == "train" else 3)
    (root / "train/dog/0.png").write_bytes(b"no image")
    words = ["dataset=folder", f"dataset.root={root}", "dataset.skip_broken=true"]
    assert main(["data", "check", *words]) == 1
    out = capsys.readouterr().out
    said = "needs training images of at least two classes, found 1"
    assert said in out and "A run without the broken ones trains" not in out
    assert main(["run", *words, "experiment=smoke", "executor=in_process"]) == 2
    assert said in capsys.readouterr().err


def test_copies_that_spoil_scores_are_named_and_leftovers_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = here / "images"
    for split in ("train", "test"):
        images(root / split)
    (root / "train" / "cat" / ".ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/0-checkpoint.png", "Thumbs.db", "notes.txt", "phone.MOV"):
        (root / "train" / "cat" / name).write_bytes(b"x")
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    # each of the four contents is in both classes of both splits
    first = "test/cat/0.png, test/dog/0.png, train/cat/0.png, train/dog/0.png"
    named = {", ".join(sorted(line.split(", "))) for line in [first]}
    assert "copies in several splits and with different labels: " in out
    assert any(name in out for name in ("train/cat/0.png, train/dog/0.png, test/cat/0.png, test/dog/0.png", *named))
    assert "4 images lie in more than one split, so that scores are too good" in out
    assert "Not among the images of the dataset: 1 .mov, 1 .txt, 2 hidden." in out
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed_over"] == {".mov": 1, ".txt": 1, "hidden": 2}
    assert len(told["copies"]) == 4
    assert all(one["across_splits"] and one["labels_differ"] and len(one["pictures"]) == 4 for one in told["copies"])


def test_a_page_that_cannot_be_written_is_refused_before_any_image_is_decoded(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biotune.datasets.check.check_copy", lambda *arguments: pytest.fail("images were decoded"))
    (here / "folder.html").mkdir()
    for page, reason in (("nowhere/a.html", "nowhere is not a folder"), ("folder.html", "is a folder")):
        assert main(["data", "check", "dataset=digits", f"page={page}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"biotune: page={page}: ") and reason in error and "page=null for none" in error
        assert len(error.splitlines()) == 1


def photographs(root: Path) -> Path:
    """Parts of two photographs; one of the training set lies in the test set again, smaller and compressed."""
    from sklearn.datasets import load_sample_images

    for name, pixels in zip(("cat", "dog"), load_sample_images().images, strict=True):
        for split, count in (("train", 6), ("test", 2)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                x, y = (97 * number + (50 if split == "test" else 0)) % 480, 61 * number % 260
                part = Image.fromarray(pixels).crop((x, y, x + 160, y + 160))
                part.save(root / split / name / f"{number}.png")
    with Image.open(root / "train" / "cat" / "3.png") as leaked:
        leaked.resize((96, 96)).save(root / "test" / "cat" / "again.jpg", quality=70)
    return root


def test_near_duplicates_across_splits_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imagehash")
    root = photographs(here / "images")
    check = ["data", "check", "dataset=folder", f"dataset.root={root}"]
    assert main(check) == 0
    out = capsys.readouterr().out
    assert (
        "1 set of near duplicates lies in several splits, so that scores are too good: train/cat/3.png ~ test/cat/again.jpg"
        in out
    )
    assert main([*check, "--json", "page=null"]) == 0
    told = json.loads(capsys.readouterr().out)
    near = {"pictures": ["train/cat/3.png", "test/cat/again.jpg"], "across_splits": True, "labels_differ": False}
    assert told["near_duplicates"] == [near] and told["copies"] == [] and told["page"] is None
    assert told["sizes"]["median"] == [160, 160] and told["sizes"]["smallest"] == [96, 96]
    assert told["classes"][0] == {"class": "cat", "train": 6, "val": 0, "test": 3, "lacks": None}


def test_without_the_package_for_near_duplicates_the_extra_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biotune.datasets.near.find_spec", lambda name: None)
    root = photographs(here / "images")
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}"]) == 0
    assert (
        "Near duplicates were not looked for. Install what finds them: pip install 'biotune[check]'" in capsys.readouterr().out
    )
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["near_duplicates"] is None


def test_a_table_is_checked_with_what_was_guessed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images(here / "images")
    rows = [f"{name}/{number}.png,{name},{number}" for name in ("cat", "dog") for number in range(4)]
    (root / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    check = ["data", "check", "dataset=table", f"dataset.root={root}", "dataset.table=labels.csv"]
    assert main(check) == 0
    out = capsys.readouterr().out
    assert "read as: columns guessed by their names: file (image), label (label), patient (group)." in out
    (root / "labels.csv").write_text("\n".join(["file,label,patient", *rows, "gone.png,cat,9", "cat/0.png,,1"]))
    assert main(check) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "1 row names a file that is missing",
        "1 row has no label",
        "1 row repeats the image of an earlier row",
    ]


def test_it_says_how_a_run_would_split_and_what_is_no_split(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images(here / "images")
    for name in ("cat", "dog"):
        for number in range(4):
            folder = root / ("train" if number < 3 else "test")
            folder.mkdir(exist_ok=True)
            (root / name / f"{number}.png").rename(folder / f"{name}{number}.png")
    rows = [f"{path.relative_to(root)},{path.name[:3]}" for path in sorted(root.rglob("*.png"))]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    check = ["data", "check", "dataset=table", f"dataset.root={root}", "dataset.table=labels.csv"]
    assert main([*check, "dataset.val_fraction=0.25", "dataset.test_fraction=0.25"]) == 0
    out = capsys.readouterr().out
    assert "images lie in folders test, train, which are not taken for splits, as the table has no column of splits" in out
    assert "(train, val, test); add one to use them." in out
    assert "A run trains on 4 images, validates on 2 and tests on 2; the 8 images without a split are divided at random." in out
    assert "2 classes are tested on few images, class cat on 1 image: one of them moves its accuracy by 100 points." in out
    assert "replaces" not in out
    assert main([*check, "dataset.val_fraction=0.25", "dataset.test_fraction=0.25", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 4, "val": 2, "test": 2}
    (root / "labels.csv").write_text("\n".join(["file,label,set", *(f"{row},{row.partition('/')[0]}" for row in rows)]))
    assert main(check) == 0
    out = capsys.readouterr().out
    assert "not taken for splits" not in out and "the 8 images" not in out
    assert "page       data_check.html (replaces the earlier one)" in out


def test_copies_in_one_class_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = here / "images"
    for name, value in (("cat/0", 1), ("cat/1", 1), ("cat/2", 2), ("dog/0", 3), ("dog/1", 4)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 14, 3), value, dtype=np.uint8)).save(root / f"{name}.png")
    assert main(["data", "check", "dataset=folder", f"dataset.root={root}"]) == 0
    out = capsys.readouterr().out
    assert "1 image is there more than once in one class" in out
    assert "more than one split" not in out


def test_a_missing_copy_has_status_1_and_a_wrong_command_line_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "dataset=mnist"]) == 1
    assert "dataset.root=data/mnist: no such folder" in capsys.readouterr().out
    for wrong, message in (
        (["check", "dataset=mnst"], "Did you mean mnist"),
        (["check", "datset=folder"], "Did you mean dataset or"),
        (["check", "dataset=dtd", "dataset.partition=11"], "must be at most 10"),
        (["check", "dataset=folder", "dataset.value_range=9,3"], "must be auto, or two ascending numbers"),
        (["check", "dataset=folder", "dataset.value_range=bright"], "must be auto, or two ascending numbers LOW,HIGH"),
        (["check", "dataset=cub", "dataset.partition=3"], "only dataset=dtd has this key"),
        (["check", "backbone=resnet50"], "backbone"),
        (["check", "-m", "dataset=cub,dtd"], "one dataset at a time"),
        (["chek"], "Did you mean check"),
        (["cache", "--clera"], "--clear"),
        (["cache", "--clear", "birds"], "not in the cache"),
    ):
        assert main(["data", *wrong]) == 2
        error = capsys.readouterr().err
        assert error.startswith("biotune: ") and message in error and len(error.splitlines()) == 1


def test_clearing_everything_forgets_copies_and_ranges_too(here: Path) -> None:
    root = images(here / "images", 6)
    find_dataset(DatasetConfig("folder", "folder", root=str(root)))
    cache = Path(os.environ["BIOTUNE_CACHE_DIR"])
    assert list(cache.rglob("*.npy"))
    assert main(["data", "cache", "--clear"]) == 0
    assert not list(cache.rglob("*.npy"))


def test_the_cache_is_listed_and_cleared_by_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images(here / "images")
    fill(root, "pets")
    fill(root, "pets", crop=6)
    fill(root, "other")
    assert main(["data", "cache"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith(("pets", "other"))]
    assert sorted((row[0], row[1], row[2]) for row in rows) == [
        ("other", "8", "8×8"),
        ("pets", "8", "6×6"),
        ("pets", "8", "8×8"),
    ]
    assert all(time.strftime("%Y-%m") in " ".join(row) for row in rows)
    assert main(["data", "cache", "--clear", "pets"]) == 0
    assert "2 removed" in capsys.readouterr().out
    assert [path.name[:6] for path in (here.parent / "cache" / "decoded").iterdir()] == ["other-"]
    assert main(["data", "cache", "--clear"]) == 0
    assert list((here.parent / "cache" / "decoded").iterdir()) == []


def test_opening_an_entry_counts_as_use(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = images(here / "images")
    fill(root, "pets")
    entry = next((here.parent / "cache" / "decoded").iterdir())
    os.utime(entry, (0, 0))
    main(["data", "cache"])
    assert "1970" in capsys.readouterr().out
    fill(root, "pets")
    main(["data", "cache"])
    assert "1970" not in capsys.readouterr().out


def test_what_is_being_filled_stays_and_what_was_left_goes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decoded = here.parent / "cache" / "decoded"
    (decoded / ".unfinished-left").mkdir(parents=True)
    (decoded / ".unfinished-left" / "pixels.npy").write_bytes(b"half")
    with unfinished(decoded / "busy", 8, lambda done, total: None) as busy:
        assert main(["data", "cache"]) == 0
        assert capsys.readouterr().out.count("unfinished") == 2
        assert main(["data", "cache", "--clear"]) == 0
        assert list(decoded.iterdir()) == [busy]


def test_hashes_of_streamed_images_are_listed_and_cleared_as_such(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = DatasetConfig("folder", "pets", root=str(images(here / "images")), decoded="stream")
    load_dataset(find_dataset(config), Preprocessing(8, 8, (0.5,) * 3, (0.5,) * 3))
    assert main(["data", "cache"]) == 0
    assert "8×8 from 8, bilinear, streamed" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "cache", "--clear", "pets"]) == 0
    assert not list((here.parent / "cache" / "decoded").iterdir())


@pytest.mark.parametrize("harm", ["cut", "empty", "text"])
def test_a_damaged_entry_is_built_anew(here: Path, harm: str) -> None:
    root = images(here / "images")
    fill(root, "pets")
    file = next((here.parent / "cache" / "decoded").iterdir()) / "pixels.npy"
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-100], "empty": b"", "text": b"no pixels"}[harm])
    fill(root, "pets")
    assert file.read_bytes() == whole


def test_the_list_of_datasets_states_facts_and_what_is_here(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data" / "usps").mkdir(parents=True)
    for name in ("usps.bz2", "usps.t.bz2"):
        (here / "data" / "usps" / name).write_bytes(b"x")
    (here / "mine" / "dataset").mkdir(parents=True)
    (here / "mine" / "dataset" / "birds.yaml").write_text(
        "# Birds of my garden.\nloader: folder\nname: birds\nroot: data/usps\n"
    )
    (here / "mine" / "dataset" / "odd.yaml").write_text("# A list, by mistake.\n- 1\n")
    assert main(["list", "datasets", "--config-dir", str(here / "mine")]) == 0
    rows = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["dataset"] == "dataset classes train val test size here licence source"
    assert rows["flowers102"].startswith("flowers102 102 1,020 1,020 6,149 350 MB no ")
    assert rows["eurosat"] == "eurosat 10 27,000 own own 100 MB no MIT github.com/phelber/eurosat"
    assert " yes " in rows["usps"] and rows["usps"].startswith("usps 10 7,291 own 2,007 9 MB")
    assert rows["digits"].startswith("digits 10 200 200 1,397 bundled yes")
    assert rows["birds"] == "birds yes Birds of my garden."
    assert rows["odd"] == "odd A list, by mistake."
    assert {"cub", "isic2020", "medmnist", "folder", "stanford_cars", "mnist"} <= set(rows)

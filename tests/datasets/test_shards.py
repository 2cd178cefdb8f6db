"""Work on a dataset that is killed, resumed, damaged, waited for: what is recorded is not made again, the rest is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config, folder_tree

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets import shards
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.decoded import decode
from biotune.datasets.images import prepare
from biotune.datasets.loaders import folder
from biotune.datasets.shards import in_shards, remove_if_free, unfinished
from biotune.datasets.source import Source

COUNT = 22  # five shards of four rows and one of two

# decodes a tree in shards of four, says which image it has begun, and waits for its end at the eleventh
DECODER = textwrap.dedent(
    """
    import dataclasses, sys, time
    import numpy as np
    from biotune.backbones.network import Preprocessing
    from biotune.config.sections import DatasetConfig
    from biotune.datasets import decoded, parallel, shards
    from biotune.datasets.loaders import folder
    shards.ROWS = 4
    parallel.usable_cores = lambda: 1
    source = folder.load(DatasetConfig("folder", "folder", root=sys.argv[1]))
    def read(index):
        if index == 10:
            print("half", flush=True)
            time.sleep(600)
        return source.read(index)
    half = (0.5, 0.5, 0.5)
    members = np.arange(len(source.names))
    decoded.decode(dataclasses.replace(source, read=read), members, Preprocessing(8, 8, half, half), keep=sys.argv[2] == "keep")
    """
)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS", 4)


@pytest.fixture
def target(cache: Path) -> Path:
    return cache / "made" / "entry"


def doubled(part: Path, reads: list[int], fails_at: int | None = None) -> dict[int, int]:
    """The rows' doubles, made in shards."""

    def work(row: int) -> int:
        reads.append(row)
        if row == fails_at:
            raise KeyboardInterrupt
        return 2 * row

    def take(row: int, outcome: int | Exception) -> int:
        assert isinstance(outcome, int)
        return outcome

    return dict(in_shards(part, COUNT, work, take, lambda done, total: None))


DOUBLES = {row: 2 * row for row in range(COUNT)}


def interrupted(target: Path, at: int = 10) -> Path:
    with pytest.raises(KeyboardInterrupt), unfinished(target, COUNT, lambda done, total: None) as part:
        doubled(part, [], at)
    assert part.is_dir()
    return part


def resumed(target: Path) -> list[int]:
    """Finish, check the outcome, and return the rows that were made now."""
    reads: list[int] = []
    with unfinished(target, COUNT, lambda done, total: None) as part:
        assert doubled(part, reads) == DOUBLES
    assert not part.exists()
    return sorted(reads)


def test_recorded_shards_are_not_made_again(target: Path) -> None:
    interrupted(target)
    assert resumed(target) == list(range(8, COUNT)), "the shard of row 10 was half made"


def test_progress_goes_on_from_what_is_recorded(target: Path) -> None:
    interrupted(target)
    seen: list[tuple[int, int]] = []
    with unfinished(target, COUNT, lambda done, total: None) as part:
        list(in_shards(part, COUNT, lambda row: row, lambda row, _: row, lambda *at: seen.append(at)))
    assert seen == [(done, COUNT) for done in range(9, COUNT + 1)]


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        ("torn", range(4, COUNT)),  # the record of the second shard was not written to its end
        ("nonsense", range(COUNT)),
        ("other shards", range(COUNT)),
    ],
)
def test_a_damaged_record_is_not_trusted(target: Path, harm: str, expected: range, monkeypatch: pytest.MonkeyPatch) -> None:
    record = interrupted(target) / "journal.jsonl"
    content = record.read_bytes()
    if harm == "torn":
        record.write_bytes(content[:-5])
    elif harm == "nonsense":
        record.write_bytes(content + b"nonsense\n")
    else:
        monkeypatch.setattr(shards, "ROWS", 5)
    assert resumed(target) == list(expected)


def test_another_process_waits_shows_progress_and_makes_nothing(target: Path) -> None:
    made, reads = threading.Event(), []
    seen: list[tuple[int, int]] = []

    def second() -> bool:
        def waited(done: int, total: int) -> None:
            seen.append((done, total))
            made.set()

        with unfinished(target, COUNT, waited):
            return target.exists()

    with ThreadPoolExecutor(1) as pool:
        with unfinished(target, COUNT, lambda done, total: None) as part:
            assert doubled(part, reads) == DOUBLES
            waiting = pool.submit(second)
            assert made.wait(20)
            target.touch()
        assert waiting.result(20)
    assert seen[0] == (COUNT, COUNT)
    assert not list(target.parent.glob(".unfinished-*"))


def test_what_is_being_filled_is_not_removed(target: Path) -> None:
    with unfinished(target, COUNT, lambda done, total: None) as part:
        assert not remove_if_free(part)
        assert part.is_dir()
    part = interrupted(target)
    assert remove_if_free(part)


@pytest.mark.parametrize(("age", "stays"), [(6 * 86400, True), (8 * 86400, False)])
def test_what_was_left_for_a_week_is_removed_by_the_next_one(target: Path, age: int, stays: bool) -> None:
    part = interrupted(target)
    for path in (*part.iterdir(), part):
        os.utime(path, (time.time() - age,) * 2)
    with unfinished(target.with_name("other"), COUNT, lambda done, total: None):
        assert part.exists() == stays


def killed_half_way(root: Path, cache: Path, keep: str) -> None:
    environment = {**os.environ, "BIOTUNE_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", DECODER, str(root), keep], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    until = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in cache.rglob("journal.jsonl")) < 3:  # a header and two shards
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.parametrize("keep", ["keep", "stream"])
@pytest.mark.slow
def test_a_killed_decoder_is_resumed_by_shard_with_the_same_pixels(
    tmp_path: Path, cache: Path, eight: Preprocessing, keep: str
) -> None:
    root = folder_tree(tmp_path / "images", {"a": 11, "b": 11})
    (root / "a" / "001.png").write_text("no image")
    killed_half_way(root, cache, keep)
    (part,) = (cache / "decoded").iterdir()
    lines = [json.loads(line) for line in (part / "journal.jsonl").read_text().splitlines()[1:]]
    assert [line["begin"] for line in lines] == [0, 4]
    source = folder.load(folder_config(root))
    reads: list[int] = []

    def read(index: int) -> Image.Image:
        reads.append(index)
        return source.read(index)

    found = decode(replace(source, read=read), np.arange(COUNT), eight, skip_broken=True, keep=keep == "keep")
    assert sorted(reads) == list(range(8, COUNT))
    assert list(found.broken) == [1]
    assert [path.name.startswith(".unfinished") for path in (cache / "decoded").iterdir()] == [False]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "fresh"))
        whole = decode(source, np.arange(COUNT), eight, skip_broken=True)
    assert (found.digests == whole.digests).all()
    assert found.broken == whole.broken
    if keep == "keep":
        assert (found.pixels == whole.pixels).all()
        assert (found.pixels[5] == np.asarray(prepare(source.read(5), eight))).all()
        names = {path.name for path in next((cache / "decoded").iterdir()).iterdir()}
        assert names == {"pixels.npy", "broken.json", "digests.npy", "about.json"}


def test_the_search_for_copies_is_resumed_too(
    tmp_path: Path, cache: Path, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_tree(tmp_path / "images", {"a": 11, "b": 11})
    dataset = folder_config(root)
    load = folder.load
    reads: list[int] = []

    def stopping(config: DatasetConfig, stop: int | None) -> Source:
        source = load(config)

        def read(index: int) -> Image.Image:
            reads.append(index)
            if index == stop:
                raise KeyboardInterrupt
            return source.read(index)

        return replace(source, read=read)

    monkeypatch.setattr(folder, "load", lambda config: stopping(config, 10))
    with pytest.raises(KeyboardInterrupt):
        find_dataset(dataset)
    reads.clear()
    monkeypatch.setattr(folder, "load", lambda config: stopping(config, None))
    found = find_dataset(dataset)
    assert sorted(reads) == list(range(8, COUNT))
    assert len(load_dataset(found, eight).names) == COUNT

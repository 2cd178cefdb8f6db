"""The real command interrupted, out of disk space, or with its folder deleted: what it says, what it leaves, how it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import SEARCH, assert_same, finish, start, trained, workers_of

from biotune.store.status import state_of

ALONE = [word for word in SEARCH if not word.startswith("executor")]


def wait_for(process: subprocess.Popen[bytes], folder: Path, trainings: int) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and len(trained(folder)) < trainings and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1].decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.slow
def test_an_interrupt_ends_cleanly_within_five_seconds_and_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("run", *SEARCH, f"hydra.run.dir={folder}")
    wait_for(process, folder, 2)
    workers, begun = workers_of(process.pid), time.monotonic()
    os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches the workers too
    _, error = process.communicate(timeout=300)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    assert error.decode().strip() == f"biotune: interrupted. 'biotune resume {folder}' goes on from here."
    assert state_of(folder) == "interrupted"
    while time.monotonic() - begun < 5 and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("run", *SEARCH, f"hydra.run.dir={folder}")
    wait_for(process, folder, 1)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert time.monotonic() - begun < 2
    assert process.returncode == 130


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    answer = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False)
    if answer.returncode:
        pytest.skip("only an administrator may mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


@pytest.mark.slow
def test_a_full_disk_is_one_clear_line_and_the_run_goes_on_once_there_is_room(
    small_disk: Path,
    twin: Path,  # noqa: F811
) -> None:
    folder = small_disk / "run"
    process = start("run", *ALONE, f"hydra.run.dir={folder}")
    wait_for(process, folder, 3)
    filler = fill(small_disk)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert error.decode().count("\n") == 1, error.decode()
    assert "No space left on device" in error.decode()
    filler.unlink()
    finish(folder)
    assert_same(folder, twin)


@pytest.mark.slow
def test_a_deleted_folder_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("run", *ALONE, f"hydra.run.dir={folder}")
    wait_for(process, folder, 3)
    shutil.rmtree(folder)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert error.decode().count("\n") == 1, error.decode()
    assert "No such file or directory" in error.decode()

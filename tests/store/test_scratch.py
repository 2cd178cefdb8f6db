"""The folder for the time of one run: there inside, gone after, and cleared away where a run was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from biotune.errors import RunFolderError
from biotune.store.scratch import scratch, scratch_root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_there_inside_and_gone_after_an_exception_too() -> None:
    with scratch() as folder:
        (folder / "activations.bin").write_bytes(b"x")
        assert folder.parent == scratch_root()
    assert not folder.exists()
    with pytest.raises(KeyError), scratch() as other:
        raise KeyError
    assert not other.exists()


def test_what_a_killed_run_left_goes_with_the_next_and_a_living_ones_stays() -> None:
    code = (
        "import time\nfrom biotune.store.scratch import scratch\n"
        "with scratch() as f:\n    print(f, flush=True)\n    time.sleep(100)"
    )
    living = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        theirs, left = (Path(str(process.stdout and process.stdout.readline()).strip()) for process in (living, killed))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.is_dir()
        with scratch():
            assert not left.exists()
            assert theirs.is_dir()
    finally:
        living.kill()
        for process in (living, killed):
            process.communicate()


def test_a_cache_folder_that_cannot_be_written_is_said_in_one_line(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(RunFolderError, match=r"cannot be written .*BIOTUNE_CACHE_DIR") as caught, scratch():
        pytest.fail("must not begin")
    assert "\n" not in str(caught.value)


def test_a_run_waits_while_another_makes_its_folder_and_so_never_takes_it_for_abandoned() -> None:
    scratch_root().mkdir(parents=True)
    begun, release = threading.Event(), threading.Event()

    def run() -> None:
        with scratch():
            begun.set()
            release.wait(10)

    one = threading.Thread(target=run)
    with FileLock(scratch_root() / ".lock"):  # held by whoever makes a folder and has not locked it yet
        one.start()
        assert not begun.wait(0.5)
    assert begun.wait(10)
    release.set()
    one.join()

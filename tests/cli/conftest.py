"""Runs commands in this process, in an empty working folder, and tells what they left and said."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from biotune.cli import main


@dataclass
class Said:
    """What a command came to."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """Takes back what Hydra does to logging; a process of its own would end instead."""
    loggers = [logging.getLogger(), logging.getLogger("hydra")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_again: None) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["biotune"])
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def biotune(here: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """`biotune(…)` as typed in the working folder `here`; what its processes say counts too."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        try:
            status = main(list(arguments))
        except SystemExit as leaving:  # Hydra's --help ends so
            status = leaving.code if isinstance(leaving.code, int) else 1
        return Said(status, *capfd.readouterr())

    return run


@pytest.fixture
def jobs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the jobs of a sweep run here, which saves a start of Python and its libraries for each."""
    from biotune.cli.launch import job

    monkeypatch.setattr(job, "perform_apart", job.perform)


def tree(root: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes | None]]:
    """Takes down everything below a folder, to be compared later."""
    return tree

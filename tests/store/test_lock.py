"""Whether somebody works in a run's folder, and what its status comes to if nobody does."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from biotune.store.lock import in_use, sole_user
from biotune.store.status import state_and_error


def test_a_folder_is_in_use_while_its_lock_is_held_and_asking_leaves_nothing(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with sole_user(tmp_path):
        assert in_use(tmp_path)
    assert not in_use(tmp_path)
    with sole_user(tmp_path):  # asking does not keep it
        pass


def test_a_lock_that_cannot_be_tried_counts_as_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert in_use(tmp_path)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, (None, None)),
        ({"state": "finished", "error": None}, ("finished", None)),
        ({"state": "failed", "error": "the disk is full."}, ("failed", "the disk is full.")),
        ({"state": "interrupted", "error": None}, ("interrupted", None)),
        ({"state": "running"}, ("interrupted", "its process was ended before it could write why.")),
        ({"state": "running", "host": platform.node()}, ("interrupted", "its process was ended before it could write why.")),
        ({"state": "running", "host": "node17"}, ("running", "on node17, as far as its folder tells.")),
    ],
)
def test_a_run_that_nobody_works_on_is_not_running_any_more(
    status: dict[str, str | None] | None, expected: tuple[str | None, str | None], tmp_path: Path
) -> None:
    if status is not None:
        (tmp_path / "status.json").write_text(json.dumps(status))
    assert state_and_error(tmp_path) == expected


def test_a_run_that_somebody_works_on_is_running(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "error": None, "host": platform.node()}))
    with sole_user(tmp_path):
        assert state_and_error(tmp_path) == ("running", None)

"""Reads what earlier sessions have written offline for Weights & Biases, whose own package offers no reader.

W&B gathers records before it writes them, so that only the files tell what a session that was killed has left. A file is a log
in LevelDB's format, after seven bytes of its own: blocks of 32 KiB with records, each behind checksum, length and kind.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _HEAD = 32768, 7
_FULL, _FIRST, _LAST = 1, 2, 4


def sent_offline(folder: Path, run: str, project: str, entity: str | None) -> set[str]:
    """What the files hold of a run, and what of it is whole; torn child runs and empty files are removed.

    Args:
        folder: The folder `wandb/` of a run.
        run: The id of the command's run; those of child runs begin with it and a dash.
        project: What is written for other projects does not count.
        entity: Likewise.

    Returns:
        The ids of child runs that have ended, `row N` for each step N of the command's run, and `files DIGEST` for its files.
    """
    found: set[str] = set()
    for path in folder.glob(f"offline-run-*/run-{run}*.wandb"):
        own, names, begun, ended = "", set(), False, False
        for record in records(path):
            if record.HasField("run"):
                same = (record.run.project, record.run.entity) == (project, entity or "")
                begun, own = True, record.run.run_id if same else ""
            elif record.HasField("history"):
                names.add(f"row {record.history.step.num}")
            elif record.HasField("artifact"):
                names.add(f"files {record.artifact.digest}")
            ended = ended or record.HasField("exit")
        if own == run:
            found |= names
        elif own and ended:
            found.add(own.removeprefix(f"{run}-"))
        elif not ended and (path.stem != f"run-{run}" or not begun):
            shutil.rmtree(path.parent)
    return found


def records(path: Path) -> Iterator[Record]:
    """The records of a file in their order, up to the first one that is torn."""
    content = path.read_bytes()
    at, begun = _HEAD, b""
    while at + _HEAD <= len(content):
        if _BLOCK - at % _BLOCK < _HEAD:  # the rest of a block is too short for a record
            at += _BLOCK - at % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        data = content[at + _HEAD : at + _HEAD + length]
        if len(data) < length:
            return
        at += _HEAD + length
        begun = data if kind in (_FULL, _FIRST) else begun + data
        if kind in (_FULL, _LAST):
            try:
                yield Record.FromString(begun)
            except DecodeError:
                return

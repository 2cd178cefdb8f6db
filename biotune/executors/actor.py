"""A worker of a Ray cluster: sets itself up once, then runs trials. The driver alone writes the run's folder.

Imports nothing heavy at module level: Ray sets the environment that torch reads before this module is imported.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biotune.errors import BiotuneError, one_line
from biotune.executors.base import reason_of
from biotune.executors.setup import Setup, build
from biotune.executors.worker import BROKEN, HELLO, READY, answer
from biotune.trial import Trial

if TYPE_CHECKING:
    from biotune.backbones.network import Network
    from biotune.training.workspace import Workspace

_PREFIX = "biotune-ray-"  # of the folders that the actors of one run share on a node
_SAMPLES, _SAMPLE = 64, 1 << 16  # number and size in bytes of the pieces that tell two files of images apart


@dataclass(frozen=True)
class Message:
    """What an actor sends.

    Attributes:
        kind: See `worker.serve`.
        content: A result or a reason; with HELLO, what the driver must know of the actor.
        files: Content by name of the files that the trial keeps in the run's folder.
        log: Lines for the run's log.
    """

    kind: str
    content: Any = None
    files: dict[str, bytes] | None = None
    log: str = ""


@dataclass(frozen=True)
class Seen:
    """What an actor tells of itself with its hello.

    Attributes:
        process: Its process id.
        address: The address of its node.
        node: Ray's id of its node; several may run on one machine.
        pixels: Whether it sees the driver's file of images under the same path.
    """

    process: int
    address: str
    node: str
    pixels: bool


@dataclass(frozen=True)
class Shipped:
    """What the driver hands every actor.

    Attributes:
        setup: The description of a worker.
        run: A token of the run, the same for all of its actors.
        host: Name of the driver's machine: its actors share the driver's scratch folder.
        memory_share: Share of a GPU's memory that the actor may take; 1 takes it all.
    """

    setup: Setup
    run: str
    host: str
    memory_share: float = 1.0


class TrialActor:
    """Runs trials in a process of a Ray node; one trial at a time."""

    def __init__(self, device: str) -> None:
        """Say where output goes; nothing heavy yet, so that the driver knows soon that a place was found.

        Args:
            device: Torch's name of the device on which to train.
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
        self._device = device
        self._workspace: Workspace | None = None
        self._folder: Path | None = None
        self._log: Path | None = None
        self._read = 0

    def hello(self, pixels: Path | None, digest: str) -> Message:
        """The first message: where the actor runs, and whether it sees the driver's file of the images.

        Args:
            pixels: The file; None if there is none.
            digest: What tells it from others, see `file_digest`.
        """
        import ray

        same = pixels is not None and pixels.is_file() and file_digest(pixels) == digest
        context = ray.get_runtime_context()
        return Message(HELLO, Seen(os.getpid(), ray.util.get_node_ip_address(), context.get_node_id(), same))

    def set_up(self, shipped: Shipped, shared: list[Any]) -> Message:
        """Set up the workspace.

        Args:
            shipped: What the driver hands every actor.
            shared: References to the network and to the images, in Ray's object store, which brings each to a node once; None
                in place of images that the node sees.
        """
        try:
            self._folder = folder = self._folder_on_this_node(shipped)
            self._print_to(folder / f"{os.getpid()}.log")
            setup = self._located(shipped, shared[1], folder)
            if 0 < shipped.memory_share < 1:
                import torch

                torch.cuda.set_per_process_memory_fraction(shipped.memory_share)
            self._workspace = self.build(setup, shared[0])
        except BiotuneError as error:
            return Message(BROKEN, one_line(error), log=self._said())
        except Exception as error:
            return Message(BROKEN, reason_of(error), log=self._said())
        return Message(READY, log=self._said())

    def build(self, setup: Setup, network: Any) -> Workspace:
        """Build the workspace.

        Args:
            setup: The description of this worker, with folders and images of this node.
            network: Reference to the driver's network.
        """
        import ray

        from biotune.config.plugins import load_plugins

        load_plugins(list(setup.plugins))  # the network's classes may be the user's own
        own: Network = ray.get(network)
        return build(setup, self._device, own)

    def run(self, trial: Trial) -> Message:
        """Run one trial; what it keeps travels with the message."""
        folder, workspace = self._folder, self._workspace
        if folder is None or workspace is None:
            raise RuntimeError("the actor has not been set up")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            kind, content = answer(trial, workspace, Path(place))
            files = {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}
        return Message(str(kind), content, files, self._said())

    def clean(self) -> str:
        """Remove the folder that the run's actors share on this node, when none of them trains any more, see `clean`."""
        return "" if self._folder is None else clean(self._folder)

    def _folder_on_this_node(self, shipped: Shipped) -> Path:
        """A folder of this run on this node; folders of runs whose actors are all gone are removed."""
        own = folder_of(shipped.run)
        for folder in own.parent.glob(f"{_PREFIX}*"):
            if folder != own and not any(_alive(pid) for pid in _pids(folder)):
                shutil.rmtree(folder, ignore_errors=True)
        own.mkdir(exist_ok=True)
        return own

    def _located(self, shipped: Shipped, pixels: Any, folder: Path) -> Setup:
        """The description with folders and images of this node."""
        import ray

        setup = shipped.setup
        if pixels is not None:
            setup = replace(setup, data=replace(setup.data, pixels=ray.get(pixels)), pixels=None)
        on_the_drivers_machine = socket.gethostname() == shipped.host and setup.scratch.is_dir()
        # activations are computed once a machine: the driver's own workers may share its folder, others have one of their own
        return setup if on_the_drivers_machine else replace(setup, scratch=folder)

    def _print_to(self, path: Path) -> None:
        """Redirect this process's output, that of native code included, to a file; the driver gets it with each message."""
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            os.dup2(handle, number)
        os.close(handle)
        self._log = path

    def _said(self) -> str:
        """The output since the last call, and all that dead workers of this run have left on this node."""
        sys.stdout.flush()
        sys.stderr.flush()
        text = ""
        if self._log is not None:
            for path in self._log.parent.glob("*.log"):
                if path != self._log and not _alive(int(path.stem)):
                    with suppress(OSError):  # another actor may have been quicker
                        rest = path.rename(path.with_suffix(".read"))
                        text += rest.read_text(encoding="utf-8", errors="replace")
                        rest.unlink()
            with self._log.open(encoding="utf-8", errors="replace") as file:
                text += file.read()
            os.truncate(self._log, 0)  # opened for appending, so that the next output begins the file anew
        return text


def folder_of(run: str) -> Path:
    """The folder that the actors of a run share on this machine."""
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{run}"


def clean(folder: Path) -> str:
    """Remove the folder that a run's actors share on a machine.

    Returns:
        The output of actors that no message has brought: those that died last, with nobody after them to look.
    """
    text = ""
    for path in sorted(folder.glob("*.log")):
        with suppress(OSError):
            text += path.read_text(encoding="utf-8", errors="replace")
    shutil.rmtree(folder, ignore_errors=True)
    return text


def file_digest(path: Path) -> str:
    """Tell a file from others of another size or with other content in one of 64 pieces, spread evenly over it."""
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for piece in range(_SAMPLES):
            file.seek(max(size - _SAMPLE, 0) * piece // (_SAMPLES - 1))
            found.update(file.read(_SAMPLE))
    return found.hexdigest()


def _pids(folder: Path) -> Iterator[int]:
    return (int(path.stem) for path in folder.glob("*.log") if path.stem.isdigit())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True

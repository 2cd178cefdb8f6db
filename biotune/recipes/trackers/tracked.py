"""Tells trackers of a run: a `Progress` that passes events on to the terminal's, and to the processes that send them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biotune.config.schema import TrialsConfig
from biotune.errors import RunFolderError, one_line
from biotune.evolution.generation import Generation
from biotune.recipes.progress import Progress
from biotune.recipes.trackers.describe import child_run, end_of, generation_row, parent_run
from biotune.recipes.trackers.events import FAILED, FINISHED, INTERRUPTED, End, Event
from biotune.recipes.trackers.sender import Sender
from biotune.store.files import TRACKERS, read_json, write_json
from biotune.trial import Trial, TrialResult

_BRIEFLY = 2.0  # seconds for a run that is to end at once, or for a tracker that has failed before
_log = logging.getLogger(__name__)


@contextmanager
def tracked(command: str, config: TrialsConfig, folder: Path, progress: Progress) -> Iterator[Progress]:
    """Pass a command's progress on to the trackers of its config; without any, this is `progress` itself.

    A tracker that fails neither ends the command nor raises: a warning says so.

    Args:
        command: The command.
        config: Its settings.
        folder: The run's folder.
        progress: Receives the progress too.
    """
    if not config.tracker.chosen:
        yield progress
        return
    told = Tracked(command, config, folder, progress)
    try:
        yield told
    except Exception:
        told.close(FAILED)
        raise
    except BaseException:  # Ctrl-C, or another request to stop the process
        told.close(INTERRUPTED)
        raise
    told.close(FINISHED)


class Tracked:
    """The progress of a command; see `Progress`. The trackers' processes start with the header, when the folder is in use."""

    def __init__(self, command: str, config: TrialsConfig, folder: Path, progress: Progress) -> None:
        """Prepare; nothing is started.

        Args:
            command: The command.
            config: Its settings.
            folder: The run's folder.
            progress: Receives the progress too.
        """
        self._command, self._config, self._folder, self._progress = command, config, folder, progress
        self._senders: list[Sender] = []
        self._warned: set[str] = set()
        self._phase, self._part, self._strategy = "", "", ""

    def header(self, title: str, facts: Iterable[tuple[str, str]]) -> None:
        """Start the trackers' processes."""
        self._progress.header(title, facts)
        try:
            identity = str(read_json(self._folder / TRACKERS).get("id") or secrets.token_hex(8))
            write_json(self._folder / TRACKERS, {"id": identity, "complete": []})
            run = parent_run(identity, self._command, self._config, self._folder)
            for name in self._config.tracker.chosen:
                self._senders.append(Sender(name, self._config.tracker, self._folder, run))
        except Exception as error:  # the disk is full, or no process can be started here
            _log.warning(f"tracker: cannot be started ({one_line(error)}); the run goes on without.")

    def line(self, text: str, style: str = "") -> None:
        """Pass it on."""
        self._progress.line(text, style)

    def decoding(self, done: int, total: int) -> None:
        """Pass it on."""
        self._progress.decoding(done, total)

    def begin_seed(self, seed: int, number: int, of: int) -> None:
        """From now on training runs belong to a seed of a comparison."""
        self._part = f"seed-{seed}"
        self._progress.begin_seed(seed, number, of)

    def begin_strategy(self, name: str) -> None:
        """From now on training runs belong to a strategy of a comparison."""
        self._strategy = name
        self._progress.begin_strategy(name)

    def begin(self, phase: str, at_most: int) -> None:
        """From now on training runs belong to a phase."""
        self._phase = phase
        self._progress.begin(phase, at_most)

    def begin_generation(self, number: int, of: int, candidates: int, seeds: int) -> None:
        """Pass it on."""
        self._progress.begin_generation(number, of, candidates, seeds)

    def trained(self, trial: Trial, result: TrialResult) -> None:
        """Send a training run."""
        self._progress.trained(trial, result)
        phase = self._phase or ("final training runs" if trial.test else "training runs")
        self._send(child_run(trial, result, phase, self._part, self._strategy))

    def generation(self, generation: Generation, of: int, trainings: int, at_most: int) -> None:
        """Send a generation."""
        self._progress.generation(generation, of, trainings, at_most)
        self._send(generation_row(generation, self._part))

    def end(self) -> None:
        """From now on training runs belong to no phase."""
        self._phase = ""
        self._progress.end()

    def close(self, state: str) -> None:
        """Send the end, and wait for it as long as the settings allow; a run that is to end at once waits briefly.

        Args:
            state: finished, failed or interrupted.
        """
        if not self._senders:
            return
        self._send(end_of(state, self._folder))
        patience = self._config.tracker.patience if state == FINISHED else _BRIEFLY
        until = time.monotonic() + patience
        complete = []
        for sender in self._senders:
            left = max(until - time.monotonic(), 0)
            if sender.close(min(left, _BRIEFLY) if sender.failing else left):
                complete.append(sender.name)
            elif state == FINISHED:
                why = "" if sender.failing else f" within tracker.patience={patience:g} seconds"
                if sender.trouble and sender.name not in self._warned:
                    why = f" ({sender.trouble})"
                _log.warning(
                    f"tracker={sender.name}: has not received everything{why}; 'biotune resume {self._folder}' sends the rest."
                )
        if state == FINISHED:
            with suppress(RunFolderError):  # the disk is full now; a resumed run would send nothing twice
                write_json(self._folder / TRACKERS, {**read_json(self._folder / TRACKERS), "complete": complete})

    def _send(self, event: Event) -> None:
        for sender in self._senders:
            sender.put(event)
            if not isinstance(event, End):
                sender.listen()
            if sender.trouble and sender.name not in self._warned:
                self._warned.add(sender.name)
                _log.warning(
                    f"tracker={sender.name}: {sender.trouble}. The run goes on, and sending is tried again; if it still fails "
                    f"at the end, 'biotune resume {self._folder}' sends what is missing."
                )

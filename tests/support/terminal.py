"""A shell at a pseudo terminal: keys are pressed, the screen is read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|\r|\x07|.\x08")
_PATIENCE = 20.0


class Terminal:
    """A program whose keyboard and screen are ours."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        ours, theirs = pty.openpty()
        self._keyboard = ours
        self._screen = ""
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            # fish refuses a terminal that does not control it
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keyboard)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._keyboard, keys.encode())

    def read_until(self, pattern: str) -> str:
        """What was printed up to and including the pattern, which is given as a regular expression.

        Raises:
            TimeoutError: It has not come.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            shown = _CONTROL.sub("", self._screen)
            if found := re.search(pattern, shown):
                self._screen = shown[found.end() :]
                return shown[: found.end()]
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._keyboard], [], [], left)[0]:
                raise TimeoutError(f"{pattern!r} has not come; the screen holds {shown!r}")
            self._screen += os.read(self._keyboard, 65536).decode(errors="replace")

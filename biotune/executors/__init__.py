"""Where trials run."""

from collections.abc import Callable
from typing import Any

from biotune.executors.in_process import InProcess
from biotune.executors.recorded import Recorded

__all__ = ["EXECUTORS", "InProcess", "Recorded"]

EXECUTORS: dict[str, Callable[..., Any]] = {"in_process": InProcess}

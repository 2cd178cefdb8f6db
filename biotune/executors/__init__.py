"""Where trials run."""

from collections.abc import Callable

from biotune.executors._base import Runner, Site
from biotune.executors.in_process import InProcess
from biotune.executors.process_pool import ProcessPool
from biotune.executors.recorded import Recorded

__all__ = ["EXECUTORS", "InProcess", "ProcessPool", "Recorded", "Runner", "Site"]

EXECUTORS: dict[str, Callable[[Site], Runner]] = {"in_process": InProcess.at, "process_pool": ProcessPool.at}

"""The executors that can be chosen by `executor.name`."""

from collections.abc import Callable

from biotune.executors.base import Runner, Site
from biotune.executors.in_process import InProcess
from biotune.executors.process_pool import ProcessPool

EXECUTORS: dict[str, Callable[[Site], Runner]] = {"in_process": InProcess.at, "process_pool": ProcessPool.at}

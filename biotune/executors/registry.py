"""The executors that can be chosen by `executor.name`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from biotune.config.schema import TrialsConfig
from biotune.executors.base import Runner
from biotune.executors.in_process import InProcess
from biotune.executors.process_pool import ProcessPool
from biotune.executors.ray_pool import RayPool, require_ray
from biotune.executors.setup import Setup

if TYPE_CHECKING:
    import torch

    from biotune.backbones.network import Network

Start = Callable[[Setup, TrialsConfig, "torch.device", "Network"], Runner]
EXECUTORS: dict[str, Start] = {"in_process": InProcess.of, "process_pool": ProcessPool.of, "ray": RayPool.of}


def check_installed(name: str) -> None:
    """Check that what an executor needs is installed, before any work.

    Args:
        name: The executor's name.

    Raises:
        ConfigError: An extra is missing; the message names it.
    """
    if name == "ray":
        require_ray()

"""Which device trainings run on, decided and checked before any work."""

import torch

from biotune.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device behind `device=auto|cpu|cuda[:i]|mps`.

    Raises:
        ConfigError: The device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # an index such as 007, or one that no integer of torch's can hold
        raise ConfigError(f"device={name}: names no device. Use auto, cpu, cuda, cuda:INDEX or mps.") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"only cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            raise ConfigError(f"device={name}: there is {found} on this machine. Use device=auto or device=cpu.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device={name}: there is no Apple GPU on this machine. Use device=auto or device=cpu.")
    return device


def describe(device: torch.device) -> str:
    """The device in words, for headers and status files."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)

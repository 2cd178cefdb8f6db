"""The device and precision of training runs, decided before any work, and the C library's memory settings."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from biotune.errors import ConfigError

_WORTH_CASTING = 1_000_000  # parameters; for smaller networks the casts cost more than bf16 saves


_BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls them on x86 and Arm


def resolve_device(name: str) -> torch.device:
    """The torch device for `device=auto|cpu|cuda[:i]|mps`.

    Raises:
        ConfigError: The name is no device, or this machine does not have it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:  # an index such as 007, or one too large for torch's integer
        raise ConfigError(f"device={name}: names no device. Use auto, cpu, cuda, cuda:INDEX or mps.") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"only cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            under = "" if visible is None else f" under CUDA_VISIBLE_DEVICES={visible!r}"
            raise ConfigError(f"device={name}: there is {found} on this machine{under}. Use device=auto or device=cpu.")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device={name}: there is no Apple GPU on this machine. Use device=auto or device=cpu.")
    return device


def describe(device: torch.device) -> str:
    """Describe a device in words, for headers and status files."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def autocast_type(precision: str, device: torch.device, module: nn.Module) -> torch.dtype | None:
    """The autocast type for `training.precision`; None for plain float32.

    Args:
        precision: fp32, bf16, or auto: bf16 if the device has instructions for it and the network gains by it.
        device: The device on which the network computes.
        module: The network.
    """
    if precision == "bf16" or (precision == "auto" and _gains_by_bf16(module, device) and has_bf16(device)):
        return torch.bfloat16
    return None


def _gains_by_bf16(module: nn.Module, device: torch.device) -> bool:
    """Whether a network computes faster in bf16: it is large, and on a processor it has no depthwise convolutions.

    Measured on a Xeon with AMX: ResNet-50 gains 1.6 to 2.8 times, a ViT 1.4 times; EfficientNet-Lite0, MobileNetV3 and
    ConvNeXt, of depthwise convolutions, lose a third to a half.
    """
    if sum(parameter.numel() for parameter in module.parameters()) < _WORTH_CASTING:
        return False
    return device.type != "cpu" or not any(_is_depthwise(layer) for layer in module.modules())


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def has_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; emulation is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(_cpu_flags() & _BF16_INSTRUCTIONS)


@lru_cache
def _cpu_flags() -> frozenset[str]:
    """The processor's feature flags from /proc/cpuinfo; empty on systems without it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split())


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


_LARGEST = 2**30


def keep_freed_memory() -> None:
    """Make the process keep freed memory for the next mini-batch instead of returning it to the system.

    Every training step frees and allocates the same large blocks; by default glibc returns each of them at once and the
    system clears it again. On two cores a ResNet-50 step became a fifth faster. With any other C library this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
    mallopt(_M_TRIM_THRESHOLD, _LARGEST)

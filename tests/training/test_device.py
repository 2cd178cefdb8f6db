"""Which device a name means, and what is said when it is not there. Hardware is pretended, so this runs anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from biotune.errors import ConfigError
from biotune.training import device as device_module
from biotune.training.device import _cpu_flags, autocast_type, describe, has_bf16, resolve_device


def network_of(parameters: int) -> nn.Module:
    """A network of this many parameters, without memory for them."""
    return nn.Linear(parameters, 1, bias=False, device="meta")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch):
    def hardware(cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return hardware


def test_cpu_is_always_there(pretend) -> None:
    pretend()
    assert resolve_device("cpu") == torch.device("cpu")
    assert describe(resolve_device("cpu")) == "cpu"


def test_auto_takes_the_best_there_is(pretend) -> None:
    pretend()
    assert resolve_device("auto") == torch.device("cpu")
    pretend(mps=True)
    assert resolve_device("auto") == torch.device("mps")
    pretend(cuda=2, mps=True)
    assert resolve_device("auto") == torch.device("cuda:0")


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_devices_that_are_hidden_are_told_of_with_the_variable_that_hides_them(
    visible: str, pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    pretend()
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError) as refused:
        resolve_device("cuda")
    assert str(refused.value) == (
        f"device=cuda: there is no CUDA device on this machine under CUDA_VISIBLE_DEVICES='{visible}'. "
        "Use device=auto or device=cpu."
    )


def test_cuda_without_an_index_is_the_first_one(pretend) -> None:
    pretend(cuda=2)
    assert resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "cuda:300", "mps"])
def test_a_device_that_is_not_there_is_refused_by_name_with_the_remedy(name: str, pretend) -> None:
    pretend()
    with pytest.raises(ConfigError) as refused:
        resolve_device(name)
    assert str(refused.value).startswith(f"device={name}: ")
    assert "device=auto or device=cpu" in str(refused.value)


def test_an_index_too_high_is_refused_with_those_there_are(pretend) -> None:
    pretend(cuda=2)
    with pytest.raises(ConfigError, match="^device=cuda:7: there is only cuda:0 to cuda:1"):
        resolve_device("cuda:7")


@pytest.mark.parametrize("name", ["cuda:99999999999999999999", "cuda:007", "gpu", "cuda:x", ""])
def test_a_name_that_torch_does_not_know_is_refused_as_an_input(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^device={name}: .*device=cpu|cuda:INDEX"):
        resolve_device(name)


class TestPrecision:
    @pytest.fixture
    def instructions(self, monkeypatch: pytest.MonkeyPatch):
        def have(there: bool) -> None:
            monkeypatch.setattr(device_module, "has_bf16", lambda device: there)

        return have

    @pytest.mark.parametrize("there", [False, True])
    @pytest.mark.parametrize("parameters", [1, 100_000_000])
    def test_a_precision_that_is_asked_for_is_taken(self, parameters: int, there: bool, instructions) -> None:
        instructions(there)
        assert autocast_type("fp32", torch.device("cpu"), network_of(parameters)) is None
        assert autocast_type("bf16", torch.device("cpu"), network_of(parameters)) is torch.bfloat16

    @pytest.mark.parametrize(
        ("there", "parameters", "expected"),
        [
            (True, 999_999, None),
            (True, 1_000_000, torch.bfloat16),
            (True, 25_000_000, torch.bfloat16),
            (False, 25_000_000, None),
            (False, 5, None),
        ],
    )
    def test_auto_casts_large_networks_where_there_are_instructions_for_it(
        self, there: bool, parameters: int, expected: torch.dtype | None, instructions
    ) -> None:
        instructions(there)
        assert autocast_type("auto", torch.device("cpu"), network_of(parameters)) is expected

    @pytest.mark.parametrize(
        ("convolution", "on_a_cpu"),
        [
            (nn.Conv2d(1024, 1024, 3, groups=1024), None),  # depthwise
            (nn.Conv2d(1024, 2048, 3, groups=1024), None),  # with a multiplier of two channels
            (nn.Conv2d(1024, 1024, 3, groups=32), torch.bfloat16),  # grouped, as in ResNeXt
            (nn.Conv2d(1, 64, 3), torch.bfloat16),  # of one channel
        ],
    )
    def test_auto_does_not_cast_depthwise_convolutions_on_a_cpu(
        self, convolution: nn.Conv2d, on_a_cpu: torch.dtype | None, instructions
    ) -> None:
        instructions(True)
        network = nn.Sequential(convolution, network_of(1_000_000))
        assert autocast_type("auto", torch.device("cpu"), network) is on_a_cpu
        assert autocast_type("auto", torch.device("cuda:0"), network) is torch.bfloat16
        assert autocast_type("bf16", torch.device("cpu"), network) is torch.bfloat16

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            ({"sse2", "avx2", "avx512f"}, False),
            ({"avx512_bf16"}, True),
            ({"avx2", "amx_bf16", "amx_tile"}, True),
            ({"asimd", "bf16"}, True),  # Arm
            ({"asimd", "ebf16x"}, False),
            (set(), False),
        ],
    )
    def test_a_processor_has_bfloat16_if_its_flags_say_so(
        self, flags: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(device_module, "_cpu_flags", lambda: frozenset(flags))
        assert has_bf16(torch.device("cpu")) is expected
        assert has_bf16(torch.device("mps")) is False

    @pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
    def test_a_gpu_has_it_from_ampere_on(
        self, capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        assert has_bf16(torch.device("cuda:0")) is expected

    def test_it_is_the_gpu_in_use_that_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        capabilities = {torch.device("cuda:0"): (7, 5), torch.device("cuda:1"): (9, 0)}
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities[device])
        monkeypatch.setattr(device_module, "_cpu_flags", lambda: frozenset({"avx512_bf16"}))
        assert autocast_type("auto", torch.device("cuda:0"), network_of(25_000_000)) is None
        assert autocast_type("auto", torch.device("cuda:1"), network_of(25_000_000)) is torch.bfloat16

    @pytest.mark.parametrize(
        ("cpuinfo", "expected"),
        [
            ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_tile\nbugs\t\t: spectre_v1\n", {"avx512_bf16", "amx_tile"}),
            ("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU part\t: 0xd40\n", {"asimd", "bf16"}),
            (None, set()),
        ],
    )
    def test_flags_are_read_where_the_system_tells_them(
        self, cpuinfo: str | None, expected: set[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read(path: Path, **_: Any) -> str:
            assert path == Path("/proc/cpuinfo")
            if cpuinfo is None:
                raise FileNotFoundError(path)
            return cpuinfo

        monkeypatch.setattr(Path, "read_text", read)
        found = _cpu_flags.__wrapped__()
        assert expected <= found
        assert bool(found) == bool(expected)
        assert not found & {"spectre_v1", "0xd40"}

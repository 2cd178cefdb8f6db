"""Which device a name means, and what is said when it is not there. Hardware is pretended, so this runs anywhere."""

from __future__ import annotations

import pytest
import torch

from biotune.device import describe, resolve_device
from biotune.errors import ConfigError


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

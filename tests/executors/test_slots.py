"""How many workers there are and which device each sees, decided without starting any and without a GPU."""

from __future__ import annotations

import pytest

from biotune.config.sections import ExecutorConfig
from biotune.executors.slots import Slot, make_slots, workers_per_device


def settings(**changes: int) -> ExecutorConfig:
    return ExecutorConfig("process_pool", **changes)


@pytest.mark.parametrize(
    ("cores", "changes", "expected"),
    [(8, {}, 8), (8, {"threads": 2}, 4), (7, {"threads": 2}, 3), (1, {"threads": 4}, 1), (8, {"workers": 3}, 3)],
)
def test_a_cpu_has_a_worker_for_each_threads_cores(cores: int, changes: dict[str, int], expected: int) -> None:
    slots = make_slots("auto", "cpu", settings(**changes), 0, cores, {})
    assert slots == [Slot("cpu", {"OMP_NUM_THREADS": str(changes.get("threads", 1))})] * expected


def test_an_apple_gpu_has_one_worker() -> None:
    assert [slot.device for slot in make_slots("auto", "mps", settings(), 0, 8, {})] == ["mps"]


@pytest.mark.parametrize(
    ("device", "changes", "visible", "expected"),
    [
        ("auto", {}, None, ["0", "1", "2"]),
        ("cuda", {"workers_per_gpu": 2}, None, ["0", "1", "2", "0", "1", "2"]),
        ("cuda", {"workers": 4}, None, ["0", "1", "2", "0"]),
        ("cuda", {"workers": 2}, None, ["0", "1"]),
        ("cuda:1", {}, None, ["1"]),
        ("cuda:1", {"workers_per_gpu": 2}, None, ["1", "1"]),
        ("auto", {}, "5,3,7", ["5", "3", "7"]),
        ("cuda:2", {}, "GPU-aa, GPU-bb, GPU-cc", ["GPU-cc"]),
        ("auto", {}, "5,3,7,1", ["5", "3", "7"]),  # more names than devices: CUDA has found three
        ("auto", {}, "5,3,-1,7", ["5", "3"]),
        ("auto", {}, "5,,7", ["5"]),
        ("auto", {}, "GPU-aa,GPU-bb,0", ["GPU-aa", "GPU-bb"]),
        ("auto", {}, "1,GPU-bb", ["1"]),
    ],
)
def test_each_worker_sees_one_gpu_which_it_calls_the_first(
    device: str, changes: dict[str, int], visible: str | None, expected: list[str]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    slots = make_slots(device, "cuda", settings(**changes), 3, 16, environment)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == expected
    assert {slot.device for slot in slots} == {"cuda:0"}
    assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"1"}


@pytest.mark.parametrize(
    ("device", "changes", "visible", "expected"),
    [
        ("auto", {}, "MIG-aa,MIG-bb,MIG-cc", ["MIG-aa", "MIG-bb", "MIG-cc"]),
        ("cuda", {"workers": 2}, "MIG-aa,MIG-bb,MIG-cc", ["MIG-aa", "MIG-bb"]),
        ("cuda", {"workers_per_gpu": 2}, "MIG-aa,MIG-bb", ["MIG-aa", "MIG-bb", "MIG-aa", "MIG-bb"]),
        ("cuda:0", {}, "MIG-GPU-aa/1/0,MIG-GPU-aa/2/0", ["MIG-GPU-aa/1/0"]),
        ("auto", {}, "MIG-aa,GPU-bb", ["MIG-aa"]),
        ("auto", {}, "0", ["0"]),  # the first instance of a divided GPU
    ],
)
def test_each_instance_of_a_divided_gpu_has_a_worker_though_a_process_sees_but_the_first(
    device: str, changes: dict[str, int], visible: str, expected: list[str]
) -> None:
    slots = make_slots(device, "cuda", settings(**changes), 1, 16, {"CUDA_VISIBLE_DEVICES": visible})
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == expected


@pytest.mark.parametrize(
    ("device", "changes", "expected"),
    [
        ("auto", {"workers": 4}, 2),  # of three GPUs the first has two
        ("auto", {"workers": 2, "workers_per_gpu": 4}, 1),
        ("cuda:1", {"workers": 5}, 5),
        ("auto", {"workers_per_gpu": 2}, 2),
    ],
)
def test_as_many_workers_share_a_gpu_as_there_really_are(device: str, changes: dict[str, int], expected: int) -> None:
    assert workers_per_device(make_slots(device, "cuda", settings(**changes), 3, 16, {})) == expected

"""Where rows come from: the same from memory, a mapped file or the device, and only what fits lies on the device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from biotune.training.placement import Placement, budget, resident

CPU = torch.device("cpu")


class TestWhatLiesOnTheDevice:
    @pytest.mark.parametrize(
        ("sizes", "max_bytes", "chosen"),
        [
            ({"pixels": 60, "deep": 30, "shallow": 10}, 100, {"pixels", "deep", "shallow"}),
            ({"pixels": 60, "deep": 30, "shallow": 10}, 99, {"pixels", "deep"}),
            ({"pixels": 60, "deep": 50, "shallow": 40}, 100, {"pixels", "shallow"}),  # the next one that still fits
            ({"pixels": 200, "deep": 50, "shallow": 40}, 100, {"deep", "shallow"}),
            ({"pixels": 100}, 100, {"pixels"}),
            ({"pixels": 101}, 100, set()),
            ({}, 100, set()),
            ({"pixels": 1}, 0, set()),
        ],
    )
    def test_the_most_useful_that_fit_together(self, sizes: Mapping[str, int], max_bytes: float, chosen: set[str]) -> None:
        assert resident(sizes, max_bytes) == chosen

    def test_what_is_named_first_goes_first(self) -> None:
        assert resident({"shallow": 40, "deep": 50, "pixels": 60}, 100) == {"shallow", "deep"}
        assert resident({"deep": 50, "pixels": 60, "shallow": 40}, 100) == {"deep", "shallow"}

    def test_the_memory_is_that_of_the_gpu_in_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        totals = {torch.device("cuda:0"): 16_000, torch.device("cuda:1"): 80_000}
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=totals[device]))
        assert budget(torch.device("cuda:1"), 2) == 10_000

    @pytest.mark.parametrize("name", ["cpu", "mps"])
    def test_nothing_where_the_devices_memory_is_the_hosts_own(self, name: str) -> None:
        assert budget(torch.device(name), 1) == 0.0

    @pytest.mark.parametrize(("workers", "expected"), [(1, 20e9), (2, 10e9), (8, 2.5e9)])
    def test_a_quarter_of_a_gpu_for_all_its_workers_together(
        self, workers: int, expected: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        properties = SimpleNamespace(total_memory=80_000_000_000)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        assert budget(torch.device("cuda:0"), workers) == expected


@pytest.fixture
def warned() -> Iterator[None]:
    """Every warning is an error, those too that torch gives only once a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        torch.set_warn_always(before)


def table_of(kind: str, folder: Path) -> Any:
    table = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    if kind == "in memory":
        return table
    np.save(folder / "table.npy", table)
    return np.load(folder / "table.npy", mmap_mode="r")


class TestTaking:
    @pytest.mark.parametrize("on_device", [False, True], ids=["sent", "resident"])
    @pytest.mark.parametrize("kind", ["in memory", "mapped"])
    def test_rows_come_in_the_order_asked_for_and_without_a_warning(self, kind: str, on_device: bool, tmp_path: Path) -> None:
        table = table_of(kind, tmp_path)
        placement = Placement(CPU, frozenset({"table"} if on_device else ()))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = placement.take("table", table, np.array([7, 0, 7, 9]), torch.float32)
        # row r holds 6r to 6r + 5
        expected = [[[6 * r, 6 * r + 1], [6 * r + 2, 6 * r + 3], [6 * r + 4, 6 * r + 5]] for r in (7, 0, 7, 9)]
        assert found.dtype == torch.float32
        assert found.tolist() == expected
        # what was taken is the taker's own
        found.zero_()
        again = placement.take("table", table, np.array([7, 0, 7, 9]), torch.float32)
        assert again.tolist() == expected
        assert table[7, 0].tolist() == [42, 43]

    @pytest.mark.parametrize("on_device", [False, True], ids=["sent", "resident"])
    def test_bfloat16_is_read_from_the_integers_that_hold_it(self, on_device: bool) -> None:
        values = torch.tensor([[1.0, -2.5], [0.0, 3.140625], [float("inf"), 1e-30]], dtype=torch.bfloat16)
        placement = Placement(CPU, frozenset({"table"} if on_device else ()))
        found = placement.take("table", values.view(torch.int16).numpy(), np.array([2, 0, 1]), torch.bfloat16)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, values[[2, 0, 1]])

    @pytest.mark.parametrize("on_device", [False, True], ids=["sent", "resident"])
    def test_a_read_only_mapped_file_is_no_cause_for_a_warning(self, on_device: bool, tmp_path: Path, warned: None) -> None:
        table = table_of("mapped", tmp_path)
        assert not table.flags.writeable
        with pytest.raises(UserWarning, match="not writable"):
            torch.from_numpy(np.asarray(table))  # what there would be a warning for
        found = Placement(CPU, frozenset({"table"} if on_device else ())).take("table", table, np.array([3]), torch.float32)
        assert found.flatten().tolist() == [18, 19, 20, 21, 22, 23]

    @pytest.mark.parametrize("on_device", [False, True], ids=["sent", "resident"])
    @pytest.mark.parametrize(
        ("table", "dtype"),
        [
            (np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3), torch.uint8),
            (np.linspace(-1, 1, 6, dtype=np.float16), torch.float16),
            (np.arange(6) * 10**12, torch.int64),
        ],
        ids=["images", "halves", "numbers"],
    )
    def test_tables_of_any_kind_and_no_row_at_all(self, table: np.ndarray, dtype: torch.dtype, on_device: bool) -> None:
        placement = Placement(CPU, frozenset({"table"} if on_device else ()))
        for rows in (np.array([5, 0, 3, 3]), np.array([2]), np.array([], dtype=np.int64)):
            found = placement.take("table", table, rows, dtype)
            assert found.dtype == dtype
            assert found.shape == (len(rows), *table.shape[1:])
            np.testing.assert_array_equal(found.numpy(), table[rows])

    def test_a_copy_made_without_gradients_serves_a_training_too(self) -> None:
        # activations are computed in inference mode, from images that are copied to the device by then
        placement = Placement(CPU, frozenset({"table"}))
        table = np.ones((6, 2), dtype=np.float32)
        with torch.inference_mode():
            placement.take("table", table, np.array([1]), torch.float32)
        weight = torch.ones(2, requires_grad=True)
        (placement.take("table", table, np.array([0, 1, 5]), torch.float32) @ weight).sum().backward()
        assert weight.grad is not None
        assert weight.grad.tolist() == [3, 3]

    def test_a_resident_table_is_read_once(self) -> None:
        table = np.arange(5, dtype=np.float32)
        placement = Placement(CPU, frozenset({"table"}))
        placement.take("table", table, np.array([0]), torch.float32)
        table[:] = -1
        assert placement.take("table", table, np.array([3]), torch.float32).tolist() == [3.0]
        assert placement.take("other", table, np.array([3]), torch.float32).tolist() == [-1.0]


class Noted:
    """A tensor that notes how it is sent."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def pin_memory(self) -> Noted:
        self.steps.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> Noted:
        self.steps.append((str(device), "goes on" if non_blocking else "waits"))
        return self


def test_a_gpu_is_sent_to_from_pinned_memory_without_waiting() -> None:
    tensor: Any = Noted()
    Placement(torch.device("cuda:0")).send(tensor)
    assert tensor.steps == ["pinned", ("cuda:0", "goes on")]
    tensor = Noted()
    Placement(CPU).send(tensor)
    assert tensor.steps == [("cpu", "waits")]

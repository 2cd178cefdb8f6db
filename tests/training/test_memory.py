"""The C library is asked to keep freed memory, and nothing is asked of a C library that cannot."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from biotune.training.device import keep_freed_memory


def test_glibc_is_told_to_map_and_trim_only_above_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    opened: list[object] = []

    def library(name: object) -> Any:
        opened.append(name)
        return SimpleNamespace(mallopt=lambda what, value: asked.append((what, value)))

    monkeypatch.setattr(ctypes, "CDLL", library)
    keep_freed_memory()
    assert opened == [None]  # the process itself
    # M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1 in glibc's malloc.h; each must fit a C int
    assert sorted(asked) == [(-3, 1_073_741_824), (-1, 1_073_741_824)]


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: (opened.append(name), SimpleNamespace())[1])
    keep_freed_memory()
    assert opened == [None]


@pytest.mark.parametrize("error", [OSError("no such library"), TypeError("expected str, not None")])
def test_a_system_that_opens_no_c_library_is_left_alone(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    def refuse(name: object) -> Any:
        opened.append(name)
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()
    assert opened == [None], "it was tried, once"


def test_a_setting_that_is_refused_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda what, value: asked.append(what) or 0))
    keep_freed_memory()
    assert sorted(asked) == [-3, -1], "the second is asked for though the first was refused"


FAULTS = """
import mmap, resource
from biotune.training.device import keep_freed_memory

def faults():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = libc.malloc(SIZE)
        ctypes.memset(block, 1, SIZE)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

import ctypes
SIZE = 200 * 2**20 // 4
usual = faults()
keep_freed_memory()
faults()
print(usual, faults(), SIZE // mmap.PAGESIZE)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="faults are counted as on Linux")
def test_a_block_that_was_freed_is_taken_again_without_a_page_fault() -> None:
    try:
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018
    except AttributeError:
        pytest.skip("the C library is not glibc")
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60)
    usual, kept, pages = map(int, done.stdout.split())
    assert kept < usual / 10, f"{usual} page faults before, {kept} after, for 20 times {pages} pages"

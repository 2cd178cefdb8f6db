"""A worker's answers, what makes it be replaced, and that it settles its environment before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from biotune.errors import RunFolderError
from biotune.executors.worker import CORRUPT, FAILED, FOLDER, RESULT, answer, corrupts
from biotune.schedule.block import Block
from biotune.schedule.schedule import Schedule
from biotune.trial import Trial, TrialResult

LR = 3e-3  # the base learning rate of trials

TRIAL = Trial(Schedule((Block("head", ("head",)),), (1.0,)), 0, 1, 1, LR)


@pytest.mark.parametrize(
    ("outcome", "kind", "content"),
    [
        (TrialResult("ok", (0.5,), 1.0), RESULT, TrialResult("ok", (0.5,), 1.0)),
        (ValueError("first\nsecond"), FAILED, "ValueError: first second"),
        (MemoryError(), CORRUPT, "MemoryError:"),
        (RuntimeError("CUDA error: an illegal memory access"), CORRUPT, "RuntimeError: CUDA error: an illegal memory access"),
        (RunFolderError("x: cannot be written\n(full)."), FOLDER, "x: cannot be written (full)."),
    ],
)
def test_whatever_a_training_does_is_an_answer(outcome: Any, kind: str, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_trial(trial: Trial, workspace: Any, folder: Path) -> TrialResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr("biotune.executors.worker.run_trial", run_trial)
    assert answer(TRIAL, None, Path("folder")) == (kind, content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (MemoryError(), True),
        (KeyError("out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA"), False),
    ],
)
def test_only_memory_and_accelerator_errors_spoil_a_process(error: Exception, expected: bool) -> None:
    assert corrupts(error) is expected


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import biotune.executors.worker", ("torch", "torchvision", "sklearn")),
        ("import biotune", ("torch", "hydra", "deap")),
        ("from biotune.cli import main; main(['--help'])", ("torch", "hydra", "deap")),
    ],
)
def test_nothing_heavy_is_imported_too_early(code: str, absent: tuple[str, ...]) -> None:
    check = f"{code}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    answered = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answered.stdout.splitlines()[-1] == "[]"

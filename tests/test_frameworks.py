"""The page about other libraries' loops: its scripts run, made smaller, and train exactly what the schedules say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import biotune
from biotune.schedule.schedule import Schedule

PAGE = (Path(__file__).parents[1] / "docs/how-to/frameworks.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"^```python title=\"(\w+)\.py\"\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def run(name: str, *smaller: tuple[str, str]) -> dict[str, Any]:
    script = SCRIPTS[name]
    for text, other in smaller or (("evaluations=20", "evaluations=4"),):
        assert text in script
        script = script.replace(text, other)
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(script, f"{name}.py", "exec"), found)
    assert found["search"].over
    return found


def frozen_stay(model: torch.nn.Module, trial: biotune.Trial, before: dict[str, torch.Tensor]) -> None:
    """Frozen blocks have the values that they had, running statistics included; trained ones have not."""
    after = model.state_dict()
    for block, weight in zip(trial.schedule.blocks, trial.schedule.lr_weights, strict=True):
        names = [name for name in after for path in block.modules if name == path or name.startswith(f"{path}.")]
        assert names
        changed = [name for name in names if not torch.equal(after[name], before[name])]
        assert bool(changed) == (weight > 0), (block.name, changed)


def trial_of(blocks: tuple[biotune.Block, ...], unfreezing: str = "together") -> biotune.Trial:
    """The first block and the one in the middle frozen."""
    frozen = {0, len(blocks) // 2}
    weights = tuple(0.0 if at in frozen else 1.0 for at in range(len(blocks)))
    return biotune.Trial(0, Schedule(blocks, weights, unfreezing=unfreezing), 0, 3)


def test_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(
        "detector", ("evaluations=12, epochs=3", "evaluations=4, epochs=1"), ("draw(16", "draw(2"), ("draw(8", "draw(1")
    )
    stages = [f"backbone.body.{name}" for name in ("conv1", "layer1", "layer2", "layer3", "layer4")]
    assert [block.name for block in found["blocks"]] == [*stages, "backbone.fpn", "rpn", "head"]
    trial = trial_of(found["blocks"])
    trained = found["pretrained"]
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    monkeypatch.setattr("copy.deepcopy", lambda model: model)
    found["objective"](trial)
    frozen_stay(trained, trial, before)


def test_segmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(
        "segmentation", ("evaluations=12, epochs=8", "evaluations=4, epochs=1"), ("draw(16", "draw(4"), ("draw(8", "draw(2")
    )
    assert [block.name for block in found["blocks"]] == [
        "stem",
        *(f"backbone.layer{stage}.{unit}" for stage in (1, 2) for unit in (0, 1)),
        "head",
    ]
    trial = trial_of(found["blocks"])
    trained = found["pretrained"]
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    monkeypatch.setattr("copy.deepcopy", lambda model: model)
    found["objective"](trial)
    assert all(0 <= score <= 1 for score in trial.scores)
    frozen_stay(trained, trial, before)


def process(rank: int, meeting: str, out: str) -> None:
    """One of two processes that train one network on different images by the lines of the page."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    torch.manual_seed(0)
    network = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(3)), torch.nn.Linear(6, 2))
    blocks = biotune.blocks_of(network)
    schedule = Schedule(blocks, (0.0, 1.0, 1.0, 1.0), unfreezing="last_to_first")
    names = {"network": network, "torch": torch, "trial": biotune.Trial(0, schedule, 0, 6)}
    names["DistributedDataParallel"] = torch.nn.parallel.DistributedDataParallel
    lines = re.findall(r"^```python\n(model = DistributedDataParallel.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(lines[0], "frameworks.md", "exec"), names)
    torch.manual_seed(rank + 1)  # each process has images of its own
    for epoch in range(6):
        schedule.unfreeze(names["model"], epoch, 6)
        loss = names["model"](torch.randn(8, 6)).square().mean()
        names["optimizer"].zero_grad()
        loss.backward()
        names["optimizer"].step()
    torch.save(network.state_dict(), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_hold_one_network_though_blocks_join_later(tmp_path: Path) -> None:
    where = (str(tmp_path / "meeting"), str(tmp_path))
    other = torch.multiprocessing.get_context("spawn").Process(target=process, args=(1, *where), daemon=True)
    other.start()
    try:
        process(0, *where)
        other.join(120)
        assert other.exitcode == 0
    finally:  # neither is left waiting for the other
        other.kill()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    torch.manual_seed(0)
    start = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(3)), torch.nn.Linear(6, 2)).state_dict()
    for name, value in first.items():
        assert torch.equal(value, second[name])
        assert torch.equal(value, start[name]) == name.startswith("0.")  # frozen


@pytest.mark.parametrize("library", ["lightning", "transformers"])
@pytest.mark.slow
def test_a_librarys_own_loop(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library, reason=f"needs {library}: pip install {library}")
    if library == "transformers":
        pytest.importorskip("accelerate", reason="needs accelerate: pip install 'transformers[torch]'")
    found = run(f"with_{library}")
    torch.manual_seed(0)
    network = found["make_network"]()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found["make_network"] = lambda: network
    trial = trial_of(found["blocks"], "last_to_first")
    joined: list[list[str]] = []

    def note(schedule: Schedule, model: torch.nn.Module, epoch: int, epochs: int) -> None:
        real(schedule, model, epoch, epochs)
        own = [name for name, selected in zip(schedule.names, schedule.trained_in(epoch, epochs), strict=True) if selected]
        joined.append(own)
        assert {name for name, one in model.named_parameters() if one.requires_grad} == {
            name
            for block in schedule.blocks
            if block.name in own
            for path in block.modules
            for name, _ in model.named_parameters()
            if name == path or name.startswith(f"{path}.")
        }

    real: Callable[..., None] = Schedule.unfreeze
    monkeypatch.setattr(Schedule, "unfreeze", note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found["objective"](trial)
    assert len(trial.scores) == 3 and all(0 <= score <= 1 for score in trial.scores)
    sizes = [len(own) for own in joined]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] and joined[0][-1] == "head"
    frozen_stay(network, trial, before)

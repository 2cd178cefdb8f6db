"""`make docs` renders every module, without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_module_has_its_page_and_nothing_is_warned_of(tmp_path: Path) -> None:
    pytest.importorskip("pdoc")
    script = ROOT / "scripts" / "render_docs.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=250, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for module in ("schedule", "finetune", "evolution/loop", "cli/completion", "backbones/chain"):
        assert (tmp_path / "biotune" / f"{module}.html").is_file()
    assert "apply" in (tmp_path / "biotune" / "schedule.html").read_text(encoding="utf-8")

"""What users import: every name is there, described, and told in one screen."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import biotune

NAMES = [name for name in biotune.__all__ if name != "__version__"]
LINES_OF_A_SCREEN = 24


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_and_described(name: str) -> None:
    found = getattr(biotune, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())


def test_help_tells_all_of_it_on_its_first_screen() -> None:
    shown = pydoc.plain(pydoc.render_doc(biotune)).splitlines()
    begin = next(number for number, line in enumerate(shown) if line.strip().startswith("The command `biotune`"))
    screen = "\n".join(shown[begin : begin + LINES_OF_A_SCREEN])
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", screen)] == []


def test_the_pages_of_the_api_hold_the_same_names() -> None:
    page = (Path(__file__).parents[1] / "docs/reference/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: biotune\.(\w+)$", page, re.MULTILINE)) == sorted(NAMES)


def test_importing_it_brings_no_heavy_library() -> None:
    code = "import sys, biotune; print([name for name in ('torch', 'hydra', 'deap', 'pandas', 'numpy') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

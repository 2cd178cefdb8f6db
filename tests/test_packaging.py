"""The wheel, as a user gets it: built from a copy of the checkout, installed beside the torch that is here, run elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # CI runs this file by its name
ROOT = Path(__file__).parents[1]
NEEDED = ("biotune/configs/run.yaml", "biotune/configs/dataset/digits.yaml", "biotune/backbones/weights/glyphnet.safetensors")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("source") / "biotune"
    kept_out = shutil.ignore_patterns(
        ".git", ".venv", "outputs", "data", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, ignore=kept_out)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", str(out), str(copy)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


def test_wheel_and_sdist_carry_configs_and_weights(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert set(NEEDED) <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "scripts/", "configs/"))]
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"configs/run.yaml", "configs/dataset/digits.yaml", NEEDED[2], "LICENSE", "README.md"} <= inside


def test_the_installed_wheel_runs_a_tiny_search_from_another_folder(built, tmp_path):
    place = tmp_path / "clean"
    venv.create(place, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    # torch and the other dependencies are taken from here; the editable install is not, its hook is not read from a path
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    where = "import biotune, biotune.configs; print(biotune.__file__, biotune.configs.__file__)"
    python = str(place / "bin" / "python")
    answer = subprocess.run([python, "-c", where], cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    assert all(path.startswith(str(site)) for path in answer.stdout.split())
    command = [python, "-m", "biotune", "run", "experiment=smoke", "hydra.run.dir=run"]
    subprocess.run(command, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    assert json.loads((elsewhere / "run" / "status.json").read_text())["state"] == "finished"

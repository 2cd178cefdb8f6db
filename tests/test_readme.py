"""Every command of the README is run: on small data, with small settings, or as far as it gets without the internet."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from biotune.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = {
    "run": ["experiment=smoke", "dataset.image_size=32"],
    "train": ["training.epochs=1", "test.seeds=[1]", "dataset.max_per_class=4", "dataset.max_eval_per_class=4"],
    "compare": ["experiment=smoke", "strategies=[full,surgical]", "test.seeds=[1]", "compare.tune_lr=false"],
    "evaluate": ["training.epochs=1", "training.seeds=[1]", "evolution.folds=1"],
}


def commands() -> list[list[str]]:
    """The words of every command in the README's indented blocks and inline code, without comments and repeats."""
    blocks = re.sub(r"\\\n\s+", " ", README)
    lines = [line.strip() for line in blocks.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`((?:biotune|make|pip) [^`]+)`", blocks)
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"(biotune|make|pip)\b", line)]
    return list({tuple(command): command for command in words}.values())


COMMANDS = commands()
OURS = [command for command in COMMANDS if command[0] == "biotune"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the README's names stand for: images, CUB, a run, a genotype file, a schedule."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{index}.png")
    cub = folder / "cub" / "CUB_200_2011"
    lists = {"images.txt": [], "image_class_labels.txt": [], "train_test_split.txt": [], "classes.txt": []}
    for label in (1, 2):
        lists["classes.txt"].append(f"{label} {label:03d}.Bird")
        (cub / "images" / f"{label:03d}.Bird").mkdir(parents=True)
        for index in range(8):
            number = 8 * (label - 1) + index + 1
            path = f"{label:03d}.Bird/{number}.jpg"
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(cub / "images" / path)
            lists["images.txt"].append(f"{number} {path}")
            lists["image_class_labels.txt"].append(f"{number} {label}")
            lists["train_test_split.txt"].append(f"{number} {int(index < 6)}")
    for name, rows in lists.items():
        (cub / name).write_text("\n".join(rows) + "\n")
    assert main(["run", "experiment=smoke", f"hydra.run.dir={folder / 'run'}"]) == 0
    shutil.copytree(folder / "run", folder / "other")
    (folder / "genotypes.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0.5,0.9,0.2\n")
    return folder


def words_for(command, place, run_dir):
    """The command with the README's names replaced, and made small."""
    standing = {
        "IMAGES": place / "images",
        "data/emoji": place / "images",
        "data/cub": place / "cub",
        "images/": place / "images",
        "IMAGE…": place / "images",
        "outputs/DATE/RUN": place / "run",
        "FILE.csv": place / "genotypes.csv",
        "schedule=FILE": f"schedule={place / 'run' / 'best_schedule.yaml'}",
        "outputs/DATE/OTHER": place / "other",
        "predictions.csv": run_dir.with_suffix(".csv"),
    }
    words = []
    for word in command[1:]:
        for name, value in standing.items():
            word = word.replace(name, str(value))
        words.append(str(place / "run") if word == "DIR" else word)
    words = [word for word in words if word != "dataset.download=true" and not word.startswith("--clear")]
    if str(place / "other") in words:
        words += ["--out", str(run_dir.with_suffix(".html"))]
    if words[0] in TINY:
        words += TINY[words[0]]
        words.append(f"hydra.sweep.dir={run_dir}" if "-m" in words else f"hydra.run.dir={run_dir}")
        if any(word.startswith("backbone=") for word in words) and not any("backbone.weights=" in word for word in words):
            words.append("backbone.weights=none")
    return words


@pytest.mark.parametrize("command", OURS, ids=" ".join)
def test_every_biotune_command_runs(command, place, tmp_path, monkeypatch, capsys):
    if "plugins=[my_birds]" in command:
        pytest.skip("run by test_plugins, with a module and a config folder of its own")
    if any("NAME" in word or "KEY" in word for word in command):
        command = [word.replace("NAME", "digits").replace("KEY=VALUE", "seed=1").replace("KEY", "seed") for word in command]
    if command[1:3] == ["data", "cache"]:
        monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    words = words_for(command, place, tmp_path / "out")
    if command[1] == "resume":
        words[1] = str(interrupted(place, tmp_path / "run"))
    assert main(words) == 0, capsys.readouterr().err
    assert "Traceback" not in capsys.readouterr().err


def interrupted(place, folder):
    """The run in mid-search: a copy whose journal ends after a few trainings."""
    shutil.copytree(place / "run", folder)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:6]) + '{"kind": "tri')
    (folder / "status.json").write_text('{"state": "running"}')
    return folder


def test_the_readme_has_the_commands_that_newcomers_need():
    names = {command[1] for command in OURS}
    assert {"run", "train", "evaluate", "blocks", "list", "predict", "data", "report", "resume"} <= names


def test_every_make_target_named_exists():
    targets = {word for command in COMMANDS if command[0] == "make" for word in command[1:]}
    assert {"demo", "test", "lint", "types", "measure", "pretrain"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)] == []


def test_every_extra_named_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"pip install '\.\[(\w+)\]'", README))
    assert named
    assert named <= set(extras)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/(\w+\.py)", README))))
def test_every_script_named_starts(script):
    answer = subprocess.run([sys.executable, ROOT / "scripts" / script, "--help"], capture_output=True, text=True, check=True)
    assert "usage:" in answer.stdout


def test_images_and_files_that_the_readme_shows_are_there():
    links = re.findall(r"\]\(((?!http)[^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_using_a_schedule_needs_neither_hydra_nor_deap(place):
    code = (
        "import sys; sys.modules['hydra'] = sys.modules['deap'] = None\n"
        "import torch, biotune\n"
        "from biotune.backbones.glyphnet import GlyphNet\n"
        f"groups = biotune.load_schedule({str(place / 'run' / 'best_schedule.yaml')!r}).apply(GlyphNet(3), base_lr=1e-3)\n"
        "print([group['name'] for group in torch.optim.AdamW(groups).param_groups])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.startswith("['")

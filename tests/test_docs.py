"""The README and the documentation: every command runs, every link leads somewhere, and the site builds.

Commands run on small data with small settings, or as far as they get without the internet. Those that train for long
have the marker `slow`; without it their keys and choices are looked up in the schema.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import biotune
from biotune.cli import main
from biotune.cli.config_files import choices_of, groups_of, roots
from biotune.cli.launch.launchers import LAUNCHERS
from biotune.cli.registry import SCHEMAS
from biotune.config.key import keys_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
WHOLE = "\n".join(TEXTS.values())
MOST_LINES_OF_THE_README = 150
SMALL = ["executor=in_process", "dataset.max_classes=3", "dataset.max_per_class=4", "dataset.max_eval_per_class=4"]
SMALL += ["dataset.image_size=32", "dataset.val_fraction=0.5", "training.epochs=1", "training.batch_size=8"]
SEARCH = ["evolution.population_size=4", "evolution.generations=1", "evolution.elites=1", "evolution.folds=1"]
SEARCH += ["training.seeds=[1]", "confirm.top_k=1", "confirm.seeds=[2]", "test.seeds=[3]"]
TINY = {
    "run": [*SMALL, *SEARCH],
    "train": [*SMALL, "test.seeds=[1]"],
    "compare": [*SMALL, *SEARCH, "strategies=[full,surgical]", "compare.tune_lr=false"],
    "evaluate": [*SMALL, "training.seeds=[1]", "evolution.folds=1"],
    "suggest": ["executor=in_process"],
}
LONG = ("run", "train", "compare")


def commands() -> list[tuple[str, ...]]:
    """The words of every command in indented and fenced blocks and in inline code, without comments and repeats."""
    text = re.sub(r"\\\n\s+", " ", WHOLE)
    fenced = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = fenced.splitlines() + [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`((?:biotune [^ `\n]+|make|pip) [^`\n]+)`", text)  # `biotune run` alone names a command
    words = [tuple(shlex.split(line, comments=True)) for line in lines if re.match(r"(biotune|make|pip)\b", line)]
    return list(dict.fromkeys(words))


def distinct(found: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """One of several commands that are the same once they have been made small."""
    seen = set()
    for command in found:
        replaced = {word.partition("=")[0] for word in TINY.get(command[1], []) if "-m" not in command}
        replaced |= {"hydra.sweep.dir", "dataset.download", "seed", "dataset.split_seed", "device"}
        named = ("DIR" if word == "outputs/DATE/RUN" else word for word in command)
        small = tuple(word for word in named if word.partition("=")[0] not in replaced)
        if small not in seen:
            seen.add(small)
            yield command


COMMANDS = commands()
OURS = [
    command
    for command in distinct([command for command in COMMANDS if command[0] == "biotune"])
    if "plugins=[my_birds]" not in command  # run by test_plugins, with a module and a config folder of its own
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the names in the pages stand for: images, CUB, a run, a genotype file, a schedule."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{index}.png")
    listed = [f"{name}/{index}.png,{name}" for name in ("one", "two") for index in range(12)]
    (folder / "images" / "labels.csv").write_text("\n".join(["image,label", *listed]) + "\n")
    cub = folder / "cub" / "CUB_200_2011"
    lists: dict[str, list[str]] = {
        name: [] for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
    }
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
    shutil.copytree(folder / "run", folder / "sweep/0")
    (folder / "genotypes.csv").write_text("stem,layer1,layer2,layer3,layer4,head,threshold\n0,0,0,0,0.5,0.9,0.2\n")
    return folder


def words_for(command: tuple[str, ...], place: Path, run_dir: Path) -> list[str]:
    """The command with the pages' names replaced, and made small."""
    standing = {
        "IMAGES": place / "images",
        "data/emoji": place / "images",
        "data/cub": place / "cub",
        "images/": place / "images",
        "IMAGE…": place / "images",
        "outputs/DATE/RUN": place / "run",
        "outputs/DATE/OTHER": place / "other",
        "outputs/DATE/SWEEP": place / "sweep",
        "FILE.csv": place / "genotypes.csv",
        "schedule=FILE": f"schedule={place / 'run' / 'best_schedule.yaml'}",
        "schedule=small.yaml": f"schedule={place / 'run' / 'best_schedule.yaml'}",
        "small.yaml": run_dir.with_suffix(".yaml"),
        "predictions.csv": run_dir.with_suffix(".csv"),
    }
    words = []
    for word in command[1:]:
        for name, value in standing.items():
            word = word.replace(name, str(value))
        word = word.replace("=NAME", "=digits").replace("KEY=VALUE", "seed=1").replace("KEY", "seed")
        words.append(str(place / "run") if word == "DIR" else word)
    # Hydra's launchers have tests of their own, in tests/smoke
    words = [
        word for word in words if word != "dataset.download=true" and not word.lstrip("+").startswith(("hydra.", "hydra/"))
    ]
    if words[:2] == ["data", "check"]:
        words.append(f"page={run_dir.with_suffix('.html')}")
    if str(place / "other") in words:
        words += ["--out", str(run_dir.with_suffix(".html"))]
    if words[0] in TINY:
        swept = {word.partition("=")[0] for word in words} if "-m" in words else set()
        words += [word for word in TINY[words[0]] if word.partition("=")[0] not in swept]
        if any(word.startswith(("executor.workers=", "executor.address=")) for word in words):  # which a pool alone has
            words = [*(word for word in words if word != "executor=in_process"), "executor.workers=2"]
            words = [word.replace("address=auto", "address=local") for word in words]  # there is no cluster to join
        if any(word.startswith("final.model=") for word in words):  # an average of two models at least
            words = [word if not word.startswith("test.seeds=") else "test.seeds=[3,4]" for word in words]
        words.append(f"hydra.sweep.dir={run_dir}" if "-m" in words else f"hydra.run.dir={run_dir}")
        if any(word.startswith("backbone=") for word in words) and not any("backbone.weights=" in word for word in words):
            words.append("backbone.weights=none")
    return words


def interrupted(place: Path, folder: Path) -> Path:
    """The run in mid-search: a copy whose journal ends after a few trials."""
    shutil.copytree(place / "run", folder)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:6]) + '{"kind": "tri')
    (folder / "status.json").write_text('{"state": "running"}')
    return folder


def run_it(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> None:
    ended = main(words)
    said = capsys.readouterr().err
    assert ended == status, said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [command for command in OURS if command[1] not in LONG], ids=" ".join)
def test_every_short_command_runs(
    command: tuple[str, ...], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if command[1:3] == ("data", "cache"):
        monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    if command[-1] == "onnx":
        pytest.importorskip("onnxscript")
    words = words_for(command, place, tmp_path / "out")
    if command[1] == "resume":
        words[1] = str(interrupted(place, tmp_path / "run"))
        words = [word.replace("generations=20", "generations=2") for word in words]
    # the made-up copy of CUB lacks most images, and the check says so
    run_it(words, capsys, status=1 if words[:3] == ["data", "check", "dataset=cub"] else 0)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in OURS if command[1] in LONG], ids=" ".join)
def test_every_long_command_runs(
    command: tuple[str, ...], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "executor=ray" in command:
        pytest.importorskip("ray")
    run_it(words_for(command, place, tmp_path / "out"), capsys)


def test_every_key_and_choice_of_the_long_commands_exists() -> None:
    found = [command for command in OURS if command[1] in LONG]
    assert found
    for command in found:
        keys = {item.path for item in keys_of(SCHEMAS[command[1]])}
        groups = {group: set(choices_of(group, roots(None))) for group in groups_of(command[1])}
        for key, equals, value in (word.partition("=") for word in command[2:]):
            if key == "hydra/launcher":
                assert value in LAUNCHERS, " ".join(command)
            elif equals and not key.lstrip("+").startswith("hydra."):
                assert key in keys or set(value.split(",")) <= groups[key], " ".join(command)


def test_every_command_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"`biotune ([a-z]+)", WHOLE))
    assert {"run", "train", "compare", "evaluate", "blocks", "list", "predict", "data", "report", "resume"} <= named
    for name in sorted(named - {"help", "completion"}):
        run_it(["help", name], capsys)


def test_every_make_target_named_exists() -> None:
    targets = {word for command in COMMANDS if command[0] == "make" for word in command[1:]}
    assert {"demo", "test", "lint", "types", "docs", "measure", "bench", "pretrain"} <= targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)] == []


def test_every_extra_named_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = set(re.findall(r"pip install '\.\[([\w-]+)\]'", WHOLE))
    assert {"docs", "timm", *(launcher.extra for launcher in LAUNCHERS.values())} <= named <= set(extras)


def test_every_script_named_starts_and_takes_the_options_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = set(re.findall(r"scripts/(\w+)\.py", WHOLE)) - {"plain_loop"}  # this one is imported by others
    assert {"measure_default", "measure_comparison", "compare_searchers", "known_answers", "bench_prune"} <= named
    for name in sorted(named):
        script = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
        with pytest.raises(SystemExit) as ended:
            script.main()
        said = capsys.readouterr().out
        assert (ended.value.code, "usage:" in said) == (0, True), name
        shown = {option for call in re.findall(rf"scripts/{name}\.py (.*)", WHOLE) for option in re.findall(r"--[a-z]+", call)}
        assert {option for option in shown if option not in said} == set(), name


def test_every_file_of_the_repository_named_exists() -> None:
    named = set(re.findall(r"`((?:biotune|tests|scripts|configs|docs)/[\w/.-]+)`", WHOLE))
    assert len(named) > 10
    assert [name for name in sorted(named) if not name.isupper() and "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_images_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.is_file(), f"{page} links to {link}"
        if anchor:
            assert anchor in {_slug(title) for title in re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("name", TEXTS)
def test_every_row_of_a_table_has_the_columns_of_its_head(name: str) -> None:
    columns = 0
    for number, line in enumerate(
        re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), TEXTS[name], flags=re.DOTALL).splitlines(), 1
    ):
        cells = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))) if line.startswith("|") else 0
        assert cells == columns or not columns or not cells, f"{name}:{number}: {line[:60]}"
        columns = cells


def _slug(title: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_THE_README


def test_the_readme_states_the_measured_scores() -> None:
    stated = re.findall(r"0\.\d{4} ± 0\.\d{4}", README.read_text(encoding="utf-8"))
    assert stated
    assert [score for score in stated if f"| {score} |" not in TEXTS["docs/evidence/default.md"]] == []


def test_python_examples_parse() -> None:
    examples = re.findall(r"^```python\n(.*?)^```", WHOLE, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        compile(example, "example", "exec")


def test_the_public_api_is_documented() -> None:
    documented = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)", TEXTS["docs/reference/api.md"], re.MULTILINE)}
    assert documented >= set(biotune.__all__) - {"__version__"}


def test_the_reference_of_keys_is_that_of_the_schema() -> None:
    fresh = importlib.import_module("write_key_reference").page()
    assert TEXTS["docs/reference/keys.md"] == fresh, "stale: run scripts/write_key_reference.py"


def test_every_page_is_in_the_navigation() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = set(re.findall(r"[\w/-]+\.md", str(settings["nav"])))
    assert listed == {page.removeprefix("docs/") for page in TEXTS if page.startswith("docs/")}


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mkdocs is missing: pip install '.[docs]'")
        pytest.skip("mkdocs is missing: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    pages = {page: page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")}
    assert len(pages) >= len(TEXTS) - 2
    fetched = r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+rel=\"?(?:stylesheet|preconnect)[^>]+href=\"?https?:"
    assert [page.name for page, text in pages.items() if re.search(fetched, text)] == []
    assert "Freeze and group a model" in pages[tmp_path / "site" / "reference" / "api.html"]


def test_using_a_schedule_needs_neither_hydra_nor_deap(place: Path) -> None:
    code = (
        "import sys; sys.modules['hydra'] = sys.modules['deap'] = None\n"
        "import torch, biotune\n"
        "from biotune.backbones.glyphnet import GlyphNet\n"
        f"groups = biotune.load_schedule({str(place / 'run' / 'best_schedule.yaml')!r}).apply(GlyphNet(3), base_lr=1e-3)\n"
        "print([group['name'] for group in torch.optim.AdamW(groups).param_groups])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.startswith("['")

"""`biotune export`: what it leaves is used by programs without biotune, and bad input is one line."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import change_json, make_run
from PIL import Image
from sklearn.datasets import load_digits

import biotune
from biotune.cli import main
from biotune.training.export.preprocessing import preprocessing_facts

PAGE = Path(__file__).parents[3] / "docs/how-to/export.md"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short full fine-tune on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    settings = ["strategy=full", "training.epochs=4", "training.lr=0.003", "test.seeds=[1,2]", "dataset.max_per_class=40"]
    settings += [f"hydra.run.dir={folder}"]
    assert main(["train", "executor=in_process", *settings]) == 0
    return folder


@pytest.fixture(scope="module")
def as_onnx(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's model as ONNX, in a new folder."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    return exported(run, "onnx", tmp_path_factory.mktemp("exported") / "new")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Digits in many modes, sizes and formats."""
    folder = tmp_path_factory.mktemp("images")
    bundled = load_digits()

    def digit(index: int, high: int = 255) -> np.ndarray:
        return np.clip(bundled.images[index] * (high / 16), 0, high)

    drawn = [Image.fromarray(digit(index).astype(np.uint8)) for index in range(12)]
    rng = np.random.default_rng(0)
    opacity = [Image.fromarray(rng.integers(100, 256, (61, 47)).astype(np.uint8)) for _ in range(2)]
    turned = Image.Exif()
    turned[0x0112] = 6
    for at, image in enumerate(drawn[:4]):
        image.resize((30 + 17 * at, 70 - 9 * at), Image.Resampling.BICUBIC).save(folder / f"{at}.png")
    for at, image in enumerate(drawn[4:6]):
        image = image.resize((47, 61)).convert("RGB")
        image.putalpha(opacity[at])
        image.save(folder / f"opacity{at}.png")
    drawn[6].resize((33, 20)).save(folder / "turned.jpg", exif=turned)
    drawn[7].resize((40, 40)).quantize(9).save(folder / "palette.png", transparency=0)
    drawn[8].resize((41, 29)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(digit(9, 65535).astype(np.uint16)).resize((16, 16)).save(folder / "sixteen.png")
    drawn[10].resize((16, 16)).convert("1").save(folder / "one.png")
    return [str(path) for path in sorted(folder.iterdir())]


def example_of(page: Path, first: str) -> str:
    """The Python example of a page that begins with a line."""
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (found,) = [text for text in examples if text.startswith(first)]
    return str(found)


def test_the_program_of_the_page_finds_the_classes_of_predict_without_torch_and_biotune(
    run: Path, as_onnx: Path, images: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    assert main(["predict", str(run), *images, "--csv", str(table), "--top", "1"]) == 0
    program = example_of(PAGE, "import json\n")
    assert "torch" not in program and "biotune" not in program
    hidden = "import sys\nfor name in ('torch', 'torchvision', 'biotune', 'onnx'):\n    sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", hidden + program, str(as_onnx), *images],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with table.open() as file:
        expected = [(row["picture"], row["class"]) for row in csv.DictReader(file)]
    assert [tuple(line.split("\t")) for line in done.stdout.splitlines()] == expected
    assert len(expected) == len(images) and len({name for _, name in expected}) > 4


def test_onnx_takes_any_number_of_images_under_the_names_that_the_page_states(run: Path, as_onnx: Path) -> None:
    import onnx
    import onnxruntime

    assert sorted(path.name for path in as_onnx.iterdir()) == ["README.md", "model.onnx", "preprocessing.json"]
    file = onnx.load(as_onnx / "model.onnx")
    onnx.checker.check_model(file)
    assert {item.domain: item.version for item in file.opset_import}[""] == 18
    session = onnxruntime.InferenceSession(as_onnx / "model.onnx")
    ((images,), (logits,)) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ("images", "tensor(float)", [3, 16, 16])
    assert (logits.name, logits.shape[1:]) == ("logits", [10])
    assert isinstance(images.shape[0], str) and images.shape[0] == logits.shape[0], "an open dimension"
    module = biotune.load_model(run).module
    for batch in (1, 7):
        given = torch.randn(batch, 3, 16, 16)
        (found,) = session.run(["logits"], {"images": given.numpy()})
        assert np.allclose(found, module(given).detach(), rtol=1e-4, atol=1e-4)


def test_the_program_of_the_page_prepares_images_as_predict_does(run: Path, images: list[str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = biotune.load_model(run)
    program = example_of(PAGE, "import json\n").partition("for file in files:")[0]
    program = program.replace("session = ", "# session = ")
    facts = json.loads((exported(run, "torchscript", tmp_path) / "preprocessing.json").read_text())
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["program", str(tmp_path / "torchscript")])
        exec(program, names)
    sizes = [(50, 31, 20, 16), (31, 50, 19, 16), (16, 16, 16, 16), (99, 7, 23, 20)]
    sizes += [(50, 31, (20, 31), (16, 25)), (31, 50, (20, 31), (16, 25)), (25, 16, (16, 25), (16, 25))]
    for width, height, resize, crop in sizes:
        preprocessing = biotune.Preprocessing(resize, crop, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
        names["facts"] = {**facts, "resize": resize, "crop": crop, "interpolation": "bilinear"}
        names["facts"] |= {"mean": list(preprocessing.mean), "std": list(preprocessing.std)}
        model.preprocessing = preprocessing
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "image.png")
        with Image.open(tmp_path / "image.png") as image:
            assert np.allclose(names["prepare"](tmp_path / "image.png"), model.prepare(image), atol=1e-5)


def exported(run: Path, kind: str, folder: Path) -> Path:
    out = folder / kind
    assert main(["export", str(run), "--format", kind, "--out", str(out)]) == 0
    return out


def test_at_a_terminal_it_says_what_takes_so_long_and_elsewhere_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, at_terminal in (("seen", True), ("unseen", False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda answer=at_terminal: answer)
        folder = exported(run, "torchscript", tmp_path / name)
        said = capsys.readouterr()
        assert said.out == f"{folder}\n"
        expected = f"Exporting to {folder}, and holding the result against the trained network"
        assert said.err.startswith(expected) if at_terminal else "Exporting" not in said.err


def test_the_folder_lies_in_the_run_and_its_card_loads_the_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--format", "torchscript"]) == 0
    out = run / "export" / "torchscript"
    assert capsys.readouterr().out == f"{out}\n"
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.pt", "preprocessing.json"]
    assert [path.name for path in out.parent.iterdir()] == ["torchscript"], "nothing unfinished is left"
    model = biotune.load_model(run)
    names: dict[str, Any] = {"images": torch.randn(4, 3, 16, 16)}
    monkeypatch.chdir(out)
    exec(example_of(out / "README.md", "import torch\n"), names)
    assert torch.allclose(names["logits"], model.module(names["images"]), atol=1e-5)
    facts = json.loads((out / "preprocessing.json").read_text(encoding="utf-8"))
    assert facts["classes"] == [str(digit) for digit in range(10)]
    assert (facts["resize"], facts["crop"], facts["interpolation"], facts["value_range"]) == (16, 16, "bicubic", None)
    assert (facts["mean"], facts["std"]) == ([0.3] * 3, [0.37] * 3)
    assert (facts["temperature"], preprocessing_facts(replace(model, temperature=1.7))["temperature"]) == (1.0, 1.7)


@pytest.mark.slow
def test_the_adapters_of_lora_are_part_of_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    folder = tmp_path / "run"
    settings = ["strategy=lora", "training.epochs=1", "dataset.max_per_class=20", "test.seeds=[1]", f"hydra.run.dir={folder}"]
    assert main(["train", "executor=in_process", *settings]) == 0
    loaded = torch.jit.load(exported(folder, "torchscript", tmp_path) / "model.pt")
    assert not [name for name, _ in loaded.named_parameters() if "lora" in name]
    probabilities = loaded(torch.stack([digit_of(folder, index) for index in first_rows(folder)])).double().softmax(1)
    with (folder / "predictions.csv").open() as file:
        written = [float(row["probability"]) for row in csv.DictReader(file)][:5]
    assert probabilities.amax(1).tolist() == pytest.approx(written, abs=1e-5)


def first_rows(folder: Path) -> list[int]:
    with (folder / "predictions.csv").open() as file:
        return [int(row["picture"]) for row in csv.DictReader(file)][:5]


def digit_of(folder: Path, index: int) -> torch.Tensor:
    """A bundled digit as the loader draws it."""
    values = np.clip(load_digits().images[index] * (255 / 16), 0, 255).astype(np.uint8)
    return biotune.load_model(folder).prepare(Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere", "--format", "onnx"], "biotune: nowhere: no such folder; give a run's folder."),
        (
            ["begun", "--format", "onnx"],
            "biotune: begun: this run is not finished (its state is running); 'biotune resume begun' goes on.",
        ),
        (["good", "--format", "pickle"], "invalid choice: 'pickle'"),
        (["compared", "--format", "onnx"], "compared: comes from 'biotune compare'; give the folder of a run or train."),
        (["good"], "the following arguments are required: --format. 'biotune export --help' shows the usage."),
        (["good", "--format", "timm", "--out", "good"], "good: exists already. Remove it, or name another folder."),
        (["good", "--format", "onnx"], "good/export/onnx: exists already. Remove it, or name another folder."),
        (["good", "--format", "onnx", "--out", "good/model.json/new"], "model.json/new: cannot be made"),
        (["good", "--format", "safetensors"], "glyphnet is a network of biotune, which neither torchvision nor timm builds."),
        (["good", "--format", "torchscript", "--plugins", "no_such"], "plugins=no_such: cannot be imported"),
        (["good", "--format", "torchscript"], "good: holds no final model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    biotune: Callable[..., Any],
    here: Path,
    snapshot: Callable[[Path], dict[str, bytes | None]],
    arguments: list[str],
    line: str,
) -> None:
    make_run(here / "good")
    (here / "good/.hydra/config.yaml").write_text(
        "dataset: {name: digits}\nbackbone: {library: biotune, name: glyphnet, weights: default}\ntraining: {lr: 0.001}\n"
    )
    shutil.copytree(here / "good", here / "begun")
    shutil.copytree(here / "good", here / "compared")
    change_json(here / "begun/status.json", state="running")
    change_json(here / "compared/status.json", command="compare")
    (here / "good/export/onnx").mkdir(parents=True)
    before = snapshot(here)
    said = biotune("export", *arguments)
    assert said.status == 2, said.err
    assert line in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert snapshot(here) == before


def test_a_model_that_does_not_give_the_logits_is_not_left(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("biotune.training.export.check.TOLERANCE", -1.0)
    assert main(["export", str(run), "--format", "torchscript", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "--format torchscript: the exported model gives logits that differ" in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

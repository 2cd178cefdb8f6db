"""The kept model: chosen, loaded, and used on files."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import biotune
from biotune.backbones.network import Preprocessing
from biotune.cli import main
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.errors import DataError, RunFolderError
from biotune.store.files import MISTAKES
from biotune.training.model import Model, image_files


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A short full fine-tune on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert (
        main(
            ["train", "executor=in_process", "strategy=full", "training.epochs=8", "training.lr=0.003", "test.seeds=[1]"]
            + [f"hydra.run.dir={folder}"]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The first 40 digits as PNG files, named by their class."""
    folder = tmp_path_factory.mktemp("images")
    bundled = load_digits()
    for index in range(40):
        values = np.clip(bundled.images[index] * (255 / 16), 0, 255).astype(np.uint8)
        Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{bundled.target[index]}-{index}.png")
    return folder


def test_most_images_get_their_own_class(run_folder, images, tmp_path, capsys):
    table = tmp_path / "out.csv"
    assert main(["predict", str(run_folder), str(images), "--csv", str(table), "--top", "2"]) == 0
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 80
    best = [row for row in rows if row["rank"] == "1"]
    right = sum(row["picture"].rpartition("/")[2].startswith(row["class"]) for row in best)
    assert right >= 34
    assert all(float(row["probability"]) <= 1 for row in rows)
    assert "40 images" in capsys.readouterr().out


def test_the_model_gives_the_probabilities_that_the_run_wrote(run_folder):
    model = biotune.load_model(run_folder)
    with (run_folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))[:20]
    bundled = load_digits()
    for row in rows:
        values = np.clip(bundled.images[int(row["picture"])] * (255 / 16), 0, 255).astype(np.uint8)
        image = Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC)
        probabilities = model.module(model.prepare(image)[None]).double().softmax(1)[0].detach()
        assert model.classes[int(probabilities.argmax())] == row["predicted_class"]
        assert float(probabilities.max()) == pytest.approx(float(row["probability"]), abs=1e-5)


def test_nothing_but_the_two_files_is_needed(run_folder, images, tmp_path):
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    files = sorted(images.iterdir())[:3]
    here, there = (biotune.load_model(folder).probabilities(files) for folder in (run_folder, tmp_path))
    assert here.equal(there)
    assert here.sum(1).tolist() == pytest.approx([1.0] * 3)


def test_a_file_that_is_no_image_is_named(run_folder, tmp_path):
    (tmp_path / "note.jpg").write_text("not an image")
    with pytest.raises(DataError, match="note.jpg: cannot be decoded"):
        biotune.load_model(run_folder).probabilities([tmp_path / "note.jpg"])


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    assert main(["predict", str(tmp_path), str(tmp_path)]) == 2
    assert "holds no final model (it has no model.json). Has the run finished?" in capsys.readouterr().err
    (tmp_path / "model.json").write_text(json.dumps({"format": 99}))
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(RunFolderError):
        biotune.load_model(tmp_path)


def test_a_kept_head_starts_where_the_weights_left_off(run_folder, tmp_path):
    weights = run_folder / "model.safetensors"
    common = [
        "train",
        "executor=in_process",
        "strategy=linear_probe",
        "training.epochs=1",
        "training.lr=1e-9",
        "test.seeds=[2]",
    ]
    scores = {}
    for head in ("keep", "new"):
        folder = tmp_path / head
        assert main([*common, f"backbone.weights={weights}", f"backbone.head={head}", f"hydra.run.dir={folder}"]) == 0
        scores[head] = json.loads((folder / "result.json").read_text())["test"]["macro_accuracy"]["mean"]
    before = json.loads((run_folder / "result.json").read_text())["test"]["macro_accuracy"]["mean"]
    assert scores["keep"] == pytest.approx(before, abs=0.01)
    assert scores["new"] < 0.4


def test_a_head_for_other_classes_cannot_be_kept(capsys):
    assert main(["train", "backbone.head=keep"]) == 2
    assert "backbone.head=keep: the weights have a head for 36 classes, the dataset has 10" in capsys.readouterr().err


def noise(shape: tuple[int, ...], high: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


MODES = {
    "grey.png": Image.fromarray(noise((20, 24), 256, "uint8")),
    "one bit.png": Image.fromarray(noise((20, 24), 256, "uint8")).convert("1"),
    "palette.png": Image.fromarray(noise((20, 24, 3), 256, "uint8")).quantize(16),
    "opacity.png": Image.fromarray(noise((20, 24, 4), 256, "uint8")),
    "grey with opacity.png": Image.fromarray(noise((20, 24, 4), 256, "uint8")).convert("LA"),
    "cmyk.jpg": Image.fromarray(noise((20, 24, 4), 256, "uint8"), "CMYK"),
    "colours.webp": Image.fromarray(noise((20, 24, 3), 256, "uint8")),
    "colours.bmp": Image.fromarray(noise((20, 24, 3), 256, "uint8")),
    "twelve bits.png": Image.fromarray(noise((20, 24), 4096, "uint16")),
    "twelve bits.tif": Image.fromarray(noise((20, 24), 4096, "uint16")),
    "integers.tif": Image.fromarray(noise((20, 24), 9000, "int32") - 1000),
    "floats.tif": Image.fromarray(noise((20, 24), 3000, "float32")),
}


@pytest.mark.parametrize("name", list(MODES))
def test_an_image_of_any_mode_is_prepared_as_in_training_to_the_pixel(name, tmp_path, monkeypatch):
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    preprocessing = Preprocessing(16, 12, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            MODES[name].save(tmp_path / split / label / name)
    data = load_dataset(find_dataset(DatasetConfig("folder", "folder", root=str(tmp_path))), preprocessing)
    model = Model(torch.nn.Identity(), preprocessing, data.classes, torch.device("cpu"), data.value_range)
    trained_on = preprocessing.normalise(torch.from_numpy(np.array(data.pixels[:1])))[0]
    with Image.open(tmp_path / "train" / "a" / name) as image:
        assert torch.equal(model.prepare(image), trained_on)


def test_the_range_of_values_is_part_of_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    bundled = load_digits()
    for index in range(60):
        path = tmp_path / "images" / str(bundled.target[index] % 2) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((bundled.images[index] * 255).astype(np.uint16)).save(path)  # 0 to 4080 of 65,535
    run = tmp_path / "run"
    options = [f"dataset.root={tmp_path / 'images'}", "backbone=glyphnet", "executor=in_process", "training.epochs=2"]
    assert main(["train", "strategy=full", "dataset=folder", *options, "test.seeds=[1]", f"hydra.run.dir={run}"]) == 0
    assert "values     0 and 4080 are black and white in images of more than 8 bits" in capsys.readouterr().out
    assert json.loads((run / "model.json").read_text())["value_range"] == [0, 4080]
    shown = [np.asarray(Image.open(path)) for path in (run / MISTAKES).glob("*.png")]  # for the report
    assert shown and all(image.max() > 200 for image in shown)
    model = biotune.load_model(run)
    with (run / "predictions.csv").open() as file:
        for row in list(csv.DictReader(file)):
            probabilities = model.probabilities([tmp_path / "images" / row["picture"]])[0]
            assert model.classes[int(probabilities.argmax())] == row["predicted_class"]
            assert float(probabilities.max()) == pytest.approx(float(row["probability"]), abs=1e-4)
    stated = tmp_path / "stated"
    wanted = ["dataset.value_range=0,2040", "test.seeds=[1]", f"hydra.run.dir={stated}"]
    assert main(["train", "strategy=full", "dataset=folder", *options, *wanted]) == 0
    assert json.loads((stated / "model.json").read_text())["value_range"] == [0, 2040]


def test_hidden_files_are_not_classified(tmp_path):
    for name in ("a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert list(image_files([str(tmp_path)])) == [tmp_path / "a.png", tmp_path / "deep" / "b.png"]


def test_phones_images_are_classified_like_others(run_folder, images, tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    file = sorted(images.rglob("*.png"))[0]
    with Image.open(file) as image:
        image.convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "a.heic", quality=100)
        image.convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if not kind.startswith("HEI")])  # as in a new process
    model = biotune.load_model(run_folder)
    heic, png = model.probabilities([tmp_path / "a.heic", tmp_path / "a.png"])
    assert torch.allclose(heic, png, atol=0.02)

"""Tests of the page of `biotune data check`."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config, folder_tree, write_image

from biotune.datasets.check import check_copy
from biotune.report import data_page
from biotune.report.data_page import render, write_data_page
from biotune.report.data_remarks import remarks


def sheet(page: str, label: str) -> list[tuple[str, Image.Image]]:
    """Names and thumbnails of a class's contact sheet."""
    part = page[page.index("<h2>Contact sheets</h2>") :]
    part = part[part.index(f"<h3><bdi>{label}</bdi></h3>") :]
    part = part[: part.index("</ul>")]
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)".*?<span class="name">.*?<bdi>(.*?)</bdi>', part, re.DOTALL)
    return [(name, Image.open(io.BytesIO(base64.b64decode(uri)))) for uri, name in found]


def test_every_class_has_a_contact_sheet_of_bounded_size(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"cat": 40, "dog": 5})
    Image.new("RGB", (400, 100), (200, 10, 10)).save(root / "dog" / "wide.png")
    config = folder_config(root)
    page = render(check_copy(config), config)
    cats, dogs = sheet(page, "cat"), dict(sheet(page, "dog"))
    assert len(cats) == 12 and cats[0][0] == "cat/000.png" and cats[-1][0] == "cat/039.png"
    assert len(dogs) == 6 and dogs["dog/wide.png"].size == (112, 28)
    assert np.abs(np.asarray(dogs["dog/wide.png"]).astype(int) - (200, 10, 10)).max() <= 4


def test_many_classes_share_the_room_for_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_page, "_MOST_IMAGES", 6)
    config = folder_config(folder_tree(tmp_path, {f"c{number}": 4 for number in range(8)}))
    page = render(check_copy(config), config)
    assert len(re.findall(r'<img src="data:', page)) == 6
    assert "6 of 8 classes" in page


def test_the_page_names_what_was_found_and_escapes_it(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "images", {"train/<b>a": 3, "train/b": 3, "test/<b>a": 1, "test/b": 1})
    (root / "train/b/000.png").write_text("text")
    Image.open(root / "train/<b>a/001.png").save(root / "test/b/copy.png")
    config = folder_config(root)
    finding = check_copy(config)
    write_data_page(tmp_path / "page.html", finding, config)
    page = (tmp_path / "page.html").read_text()
    assert "<b>a" not in page and "&lt;b&gt;a" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "9 images of 2 classes; 1 cannot be decoded." in page
    assert "train/b/000.png" in page[page.index("Broken images") : page.index("Copies: the same pixels")]
    assert "<h3>2 images, in several splits, with different labels</h3>" in page
    for remark in remarks(finding):
        assert str(remark.what).replace("<", "&lt;").replace(">", "&gt;") in page


def test_dark_images_of_more_than_8_bits_are_shown_in_their_own_range(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array([[0, 4095]], np.uint16).repeat(30, axis=0).repeat(30, axis=1)).save(tmp_path / name / "1.png")
    config = folder_config(tmp_path)
    ((_, thumbnail),) = sheet(render(check_copy(config), config), "a")
    values = np.asarray(thumbnail)[..., 0]
    assert values[:, :20].max() < 20 and values[:, -20:].min() > 235


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": 40, "b": 4}, "Classes are uneven: a has 40 images, b 4. training.class_weights=balanced"),
        ({"a": 4, "b": 2}, "Class b has 2 images for training, validation and test, which need one each. Add images"),
        ({"a": 3, "b": 1, "c": 1}, "which need one each. So do 1 more."),
    ],
)
def test_sentences_on_classes_name_the_remedy(tmp_path: Path, tree: dict[str, int], words: str) -> None:
    finding = check_copy(folder_config(folder_tree(tmp_path, tree)))
    assert any(words in str(remark) for remark in remarks(finding))


def test_sentences_on_sizes_name_the_images(tmp_path: Path) -> None:
    root = folder_tree(tmp_path, {"a": 6, "b": 6})
    write_image(root / "a" / "long.png", 3, (90, 10))
    write_image(root / "b" / "tiny.png", 4, (2, 2))
    said = [str(remark) for remark in remarks(check_copy(folder_config(root)))]
    assert any(line.startswith("1 image is more than 3 times as long as wide") and "a/long.png" in line for line in said)
    assert any(line.startswith("1 image is less than a quarter as large") and "b/tiny.png" in line for line in said)


def test_a_plain_dataset_has_nothing_to_look_at(tmp_path: Path) -> None:
    pytest.importorskip("imagehash")
    config = folder_config(folder_tree(tmp_path, {"a": 25, "b": 25}))
    finding = check_copy(config)
    assert remarks(finding) == []
    assert "What to look at" not in render(finding, config)

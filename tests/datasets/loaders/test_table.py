"""Tests of images listed in a table: columns, splits, groups, paths, and what is wrong with rows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import write_image

from biotune.backbones.network import Preprocessing
from biotune.config.sections import DatasetConfig
from biotune.datasets.data import find_dataset, load_dataset
from biotune.datasets.registry import load_source
from biotune.errors import DataError


def config(root: Path | None, table: Path | str = "labels.csv", **keys: Any) -> DatasetConfig:
    return DatasetConfig("table", "table", root=None if root is None else str(root), table=str(table), **keys)


def images(root: Path, names: Sequence[str]) -> Path:
    for number, name in enumerate(names):
        write_image(root / name, 7 * number)
    return root


def written(root: Path, *lines: str, name: str = "labels.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def grid(root: Path, count: int, **columns: Sequence[object]) -> Path:
    """`count` images of cats and dogs in turn, with further columns."""
    images(root, [f"{number}.png" for number in range(count)])
    rows = [
        ",".join([f"{number}.png", ("cat", "dog")[number % 2], *(str(values[number]) for values in columns.values())])
        for number in range(count)
    ]
    return written(root, ",".join(["file", "label", *columns]), *rows)


def test_named_columns_are_read_and_others_left_alone(tmp_path: Path) -> None:
    root = images(tmp_path, ["a.png", "sub/b.jpg", "c.png"])
    written(root, "n,where,what,when,who", "1,a.png,cat,Train,x", "2,sub/b.jpg, dog ,VALID,y", "3,c.png,cat,testing,x")
    keys = {"image_column": "where", "label_column": "what", "split_column": "when", "group_column": "who"}
    source = load_source(config(root, **keys))
    assert source.names == ("a.png", "sub/b.jpg", "c.png")
    assert source.classes == ("cat", "dog") and source.labels.tolist() == [0, 1, 0]
    assert source.splits.tolist() == ["train", "val", "test"]
    assert source.groups is not None and source.groups.tolist() == [0, 1, 0]
    assert source.remarks == ()
    assert np.array_equal(np.asarray(source.read(1)), np.asarray(Image.open(root / "sub" / "b.jpg")))


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("Filename,Label,Split,Patient ID", (0, 1, 2, 3)),
        ("image_id,dx,subset,subject", (0, 1, 2, 3)),
        ("patient-id,path,target,fold", (3, 0, 1, 2)),
        ("group,image,class,partition", (3, 0, 1, 2)),
    ],
)
def test_usual_names_are_guessed_and_told(tmp_path: Path, header: str, order: tuple[int, ...]) -> None:
    root = images(tmp_path, ["a.png", "b.png"])
    rows = [("a.png", "cat", "train", "p"), ("b.png", "dog", "dev", "q")]
    written(root, header, *(",".join(row[place] for place in order) for row in rows))
    source = load_source(config(root))
    assert (source.classes, source.splits.tolist()) == (("cat", "dog"), ["train", "val"])
    assert source.groups is not None and source.groups.tolist() == [0, 1]
    (remark,) = source.remarks
    assert remark.startswith("columns guessed by their names: ") and "dataset.image_column" in remark
    assert all(f"{name} (" in remark for name in header.split(","))


def test_a_guessed_fold_that_holds_no_splits_is_not_used_and_a_named_one_is_refused(tmp_path: Path) -> None:
    root = grid(tmp_path, 10, fold=[number % 5 for number in range(10)])
    source = load_source(config(root))
    assert set(source.splits.tolist()) == {""}
    assert "column fold holds no splits (train, val, test) and is not used." in source.remarks
    with pytest.raises(DataError, match=r"10 rows have splits .*line 2 \(0\), line 3 \(1\), line 4 \(2\) and 7 more"):
        load_source(config(root, split_column="fold"))


def test_a_column_with_a_usual_name_can_be_left_alone(tmp_path: Path) -> None:
    root = grid(tmp_path, 4, split=["train", "train", "test", "test"], patient=[1, 1, 2, 2])
    source = load_source(config(root, split_column="none", group_column="none"))
    assert set(source.splits.tolist()) == {""} and source.groups is None


def test_without_a_split_column_images_are_held_out_as_in_a_folder(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    root = grid(tmp_path / "flat", 20)
    data = load_dataset(find_dataset(config(root)), eight)
    assert (len(data.whole.train), len(data.whole.val), len(data.test)) == (12, 4, 4)
    for number in range(20):
        write_image(tmp_path / "tree" / ("cat", "dog")[number % 2] / f"{number}.png", 7 * number)
    folder = load_dataset(find_dataset(DatasetConfig("folder", "folder", root=str(tmp_path / "tree"))), eight)
    assert np.bincount(data.labels[data.test]).tolist() == np.bincount(folder.labels[folder.test]).tolist() == [2, 2]
    assert data.remarks == load_source(config(root)).remarks != ()


def test_groups_are_never_separated(tmp_path: Path, cache: Path) -> None:
    root = grid(tmp_path, 40, patient=[f"p{number // 4}" for number in range(40)])
    found = find_dataset(config(root))
    groups = found.source.groups
    assert groups is not None
    parts = [set(groups[part].tolist()) for part in (found.cut.train, found.cut.val, found.cut.test)]
    assert all(parts) and sum(map(len, parts)) == 10 and len(set.union(*parts)) == 10


def test_groups_that_cannot_be_divided_are_refused_with_what_was_guessed(tmp_path: Path, cache: Path) -> None:
    root = grid(tmp_path, 12, group=["a"] * 12)
    with pytest.raises(DataError, match=r"of 1 groups .*group \(group\).*dataset.group_column=none uses none"):
        find_dataset(config(root))
    assert len(find_dataset(config(root, group_column="none")).cut.test)


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t"), ("a.txt", ";")])
def test_spreadsheets_separate_values_in_several_ways(tmp_path: Path, name: str, mark: str) -> None:
    root = images(tmp_path, ["1.png", "2.png"])
    lines = [["path", "label"], ["1.png", f'"ca{mark}t"'], [], ["2.png", "dög"]]
    written(root, "\ufeff" + mark.join(lines[0]), *map(mark.join, lines[1:]), name=name)
    source = load_source(config(root, name))
    assert source.classes == (f"ca{mark}t", "dög") and source.names == ("1.png", "2.png")


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    root = grid(tmp_path, 6, split=["train"] * 3 + ["test"] * 3)
    frame = pd.read_csv(root / "labels.csv")
    frame["label"] = [3.0, 10.0] * 3
    frame.to_parquet(root / "labels.parquet")
    source = load_source(config(root, "labels.parquet"))
    assert source.classes == ("3", "10") and source.labels.tolist() == [0, 1] * 3
    assert source.splits.tolist() == ["train"] * 3 + ["test"] * 3
    frame.loc[4, "label"] = None
    frame.to_parquet(root / "labels.parquet")
    with pytest.raises(DataError, match=r"1 row has no label: row 5 \(4.png\)"):
        load_source(config(root, "labels.parquet"))


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"labels.parquet: Parquet needs .*pip install 'biotune\[parquet\]'"):
        load_source(config(tmp_path, "labels.parquet"))


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    root = images(tmp_path, ["a.png", "b.png", "c.png"])
    written(root, "path,label", "a.png,10", "b.png,9", "c.png,NA")
    assert load_source(config(root)).classes == ("10", "9", "NA")
    written(root, "path,label", "a.png,10", "b.png,9", "c.png,-0")
    assert load_source(config(root)).classes == ("-0", "10", "9")
    written(root, "path,label", "a.png,10", "b.png,9", "c.png,0")
    assert load_source(config(root)).classes == ("0", "9", "10")


def test_the_table_may_lie_apart_from_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images(tmp_path / "images", ["a.png", "b.png"])
    images(tmp_path / "lists", ["c.png"])
    written(tmp_path / "lists", "path,label", "a.png,x", f"{tmp_path / 'images' / 'b.png'},y", "c.png,y")
    source = load_source(config(tmp_path / "images", tmp_path / "lists" / "labels.csv"))
    assert source.names == ("a.png", "b.png", "../lists/c.png")
    assert source.read(2).size == (12, 10)
    assert (
        len(load_source(config(None, written(tmp_path / "images", "path,label", "a.png,x", "b.png,y") / "labels.csv")).names)
        == 2
    )
    monkeypatch.chdir(tmp_path)
    assert load_source(config(Path("images"), "lists/labels.csv")).names == source.names


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0007", "0007.jpg"),
        ("photo.jpg", "sub/Photo.JPG"),
        ("SUB\\photo.jpg", "sub/Photo.JPG"),
        ("./0007.jpg", "0007.jpg"),
        ("other/0007.jpg", None),
        ("twice", None),
    ],
)
def test_files_are_found_by_other_spellings_unless_several_could_be_meant(
    tmp_path: Path, given: str, found: str | None
) -> None:
    root = images(tmp_path, ["0007.jpg", "sub/Photo.JPG", "x/twice.png", "y/twice.png", "z.png"])
    written(root, "image_id,label", f"{given},a", "z.png,b")
    if found is None:
        with pytest.raises(DataError, match="1 row names a file that is missing: line 2"):
            load_source(config(root))
        return
    source = load_source(config(root))
    assert source.names == (found, "z.png")
    told = f"1 image is found by another spelling of the path, such as {given} at {found}." in source.remarks
    assert told == (given != "./0007.jpg")


def refused(root: Path, **keys: Any) -> list[str]:
    with pytest.raises(DataError) as error:
        load_source(config(root, **keys))
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{root / 'labels.csv'}: ") for line in lines)
    return [line.removeprefix(f"{root / 'labels.csv'}: ") for line in lines]


def test_all_that_is_wrong_with_rows_is_told_at_once_with_their_lines(tmp_path: Path) -> None:
    root = images(tmp_path, ["a.png", "b.png", "c.png"])
    lines = ["path,label,split", "a.png,x,train", "gone.png,x,train", "b.png,,train", ",x,test", "c.png,y,tset", "a.png,y,test"]
    written(root, *lines, "nowhere.png,z,", "")
    assert refused(root) == [
        "2 rows name files that are missing: line 3 (gone.png), line 8 (nowhere.png). Put them below dataset.root, remove the "
        "rows, or set dataset.skip_broken=true.",
        "1 row has no label: line 4 (b.png). Fill it in, or remove the row.",
        "1 row names no image: line 5. Fill in the path, or remove the row.",
        "1 row has a split that is none of train, val and test: line 6 (tset). Use these words, or set "
        "dataset.split_column=none.",
        "1 row repeats the image of an earlier row: line 7 (a.png, as line 2). Keep one row an image.",
        "1 row has no split: line 8 (nowhere.png). Fill in train, val or test, or set dataset.split_column=none.",
    ]


def test_rows_without_a_file_can_be_left_out(tmp_path: Path) -> None:
    root = images(tmp_path, ["a.png", "b.png"])
    written(root, "path,label", "a.png,x", "gone.png,x", "b.png,y")
    source = load_source(config(root, skip_broken=True))
    assert source.names == ("a.png", "b.png") and source.labels.tolist() == [0, 1]
    assert "1 row is left out for want of the file: line 3 (gone.png)." in source.remarks
    written(root, "path,label", "gone.png,x")
    with pytest.raises(DataError, match="lists no image whose file is there"):
        load_source(config(root, skip_broken=True))


@pytest.mark.parametrize(
    ("lines", "keys", "message"),
    [
        ([], {}, "labels.csv: is empty; its first line must name the columns"),
        (["path,label"], {}, "labels.csv: lists no image"),
        (["path,path,label"], {}, "labels.csv: has several columns named path"),
        (["one,two"], {}, "no column that is surely the image's. Name it by dataset.image_column; its columns: one, two."),
        (["path,two"], {}, "no column that is surely the label's. Name it by dataset.label_column"),
        (["path,kind"], {"label_column": "knd"}, "dataset.label_column=knd: .*no such column. Did you mean kind"),
        (["path,label"], {"split_column": "part"}, "dataset.split_column=part: .*no such column.* Known: path, label."),
        (["path,label", "a.png"], {}, "line 2 has 1 values, but the header names 2 columns. Put values"),
        (["path,label", "a.png,x", "a, b.png,x"], {}, "line 3 has 3 values"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(
    tmp_path: Path, lines: list[str], keys: Mapping[str, str], message: str
) -> None:
    images(tmp_path, ["a.png"])
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message) as error:
        load_source(config(tmp_path, **keys))
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    written(tmp_path, "path,label")
    with pytest.raises(DataError, match="dataset.table=lables.csv: no such file in dataset.root=.*There are: labels.csv"):
        load_source(config(tmp_path, "lables.csv"))
    with pytest.raises(DataError, match="dataset.table=nowhere.csv: no such file. Give its path, or set dataset.root"):
        load_source(config(None, "nowhere.csv"))
    (tmp_path / "labels.csv").write_bytes("path,label\na.png,dög\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"labels.csv: cannot be read as a table .* Save it as UTF-8."):
        load_source(config(tmp_path))
    (tmp_path / "labels.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match=r"labels.xlsx: is no table that can be read \(csv, tsv, tab, txt, parquet\)"):
        load_source(config(tmp_path, "labels.xlsx"))


def test_what_else_lies_below_the_root_is_passed_over(tmp_path: Path) -> None:
    root = images(tmp_path, ["a.png", "b.png", "unlisted.png"])
    written(root, "path,label", "a.png,x", "b.png,y")
    assert load_source(config(root)).passed_over() == ["unlisted.png"]

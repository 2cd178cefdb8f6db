"""Tests of reading genotype files."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biotune.errors import ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.genotype_file import read_genotypes

BLOCKS = [Block("stem", ("a",)), Block("no", ("b",)), Block("head, new", ("c",))]
HEADER = 'stem,no,"head, new",threshold\n'
GENES = st.lists(st.floats(0, 1), min_size=4, max_size=4)


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "genes.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return str(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(GENES, min_size=1, max_size=5))
def test_genes_read_back_to_the_bit(genotypes: list[list[float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "genes.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["stem", "no", "head, new", "threshold"])
            writer.writerows(genotypes)
        read = read_genotypes(str(path), BLOCKS)
    assert [[gene.hex() for gene in genes] for genes in read] == [[gene.hex() for gene in genes] for genes in genotypes]


@pytest.mark.parametrize(
    "content",
    [
        HEADER + "0.1,0.2,0.3,0.4\n0.5,1e-05,1,0\n",
        "\ufeff" + HEADER + "0.1,0.2,0.3,0.4\n0.5,1e-05,1,0\n",
        (HEADER + "0.1,0.2,0.3,0.4\n0.5,1e-05,1,0").replace("\n", "\r\n"),
        "\n" + HEADER + "\n0.1, 0.2, 0.3, 0.4\n\n\n0.5,1e-05,1,0\n\n",
        'threshold, "head, new", no, stem\n0.4,0.3,0.2,0.1\n0,1,0.00001,0.5\n',
    ],
    ids=["plain", "byte order mark", "Windows line ends", "blank lines and spaces", "columns in another order"],
)
def test_spreadsheets_habits_change_nothing(tmp_path: Path, content: str) -> None:
    assert read_genotypes(write(tmp_path, content), BLOCKS) == [[0.1, 0.2, 0.3, 0.4], [0.5, 1e-05, 1.0, 0.0]]


ROW = "0.1,0.2,0.3,0.4\n"
REFUSED = {
    "a column lacks": ("stem,no,threshold\n0.1,0.2,0.3\n", "lacks head, new"),
    "a column is unknown": (HEADER.replace("\n", ",tail\n") + "0.1,0.2,0.3,0.4,0.5\n", "unknown 'tail'"),
    "one lacks and one is unknown": (HEADER.replace("stem", "stam") + ROW, "lacks stem; has unknown 'stam'"),
    "a column twice": (HEADER.replace("\n", ",no\n") + "0.1,0.2,0.3,0.4,0.5\n", "repeats no"),
    "no header": (ROW, "lacks stem"),
    "a text": (HEADER + ROW + "0.1,high,0.3,0.4\n", "line 3: could not convert string to float: 'high'"),
    "an empty cell": (HEADER + "0.1,,0.3,0.4\n", "line 2"),
    "above 1": (HEADER + ROW + ROW + "0.1,0.2,1.5,0.4\n", "line 4: gene head, new is 1.5: must lie in [0, 1]"),
    "below 0": (HEADER + "-0.1,0.2,0.3,0.4\n", "line 2: gene stem is -0.1"),
    "NaN": (HEADER + "0.1,0.2,0.3,nan\n", "line 2: gene threshold is nan"),
    "infinite": (HEADER + "0.1,0.2,0.3,inf\n", "line 2: gene threshold is inf"),
    "a row too short": (HEADER + ROW + "0.1,0.2,0.3\n", "line 3: has 3 cells"),
    "a row too long": (HEADER + ROW + "0.1,0.2,0.3,0.4,0.5\n", "line 3: has 5 cells"),
    "every row too long": (HEADER + "0.1,0.2,0.3,0.4,0.5\n", "line 2: has 5 cells"),
    "wrong after a blank line": (HEADER + "\n\n" + "0.1,0.2,0.3,7\n", "line 4: gene threshold"),
    "empty": ("", "empty"),
    "blank": ("\n\n\n", "empty"),
    "header only": (HEADER, "has no rows"),
    "binary": (bytes(range(256)) * 4, "not a CSV file"),
    "UTF-16": ((HEADER + ROW).encode("utf-16"), "not a CSV file"),
    "NUL bytes": (b"\0" * 100, ""),
    "a giant cell": (HEADER + "9" * 200_000 + ",0.2,0.3,0.4\n", "not a CSV file"),
}


@pytest.mark.parametrize(("content", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_names_the_file_and_what_is_wrong(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ScheduleError) as refusal:
        read_genotypes(path, BLOCKS)
    message = str(refusal.value)
    assert message.startswith(f"genotypes={path}: ")
    assert complaint in message
    assert "\n" not in message


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=r"none\.csv: cannot be read"):
        read_genotypes(str(tmp_path / "none.csv"), BLOCKS)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(max_size=40).map(lambda text: (HEADER + text).encode("utf-8", "replace"))))
def test_any_file_holds_genotypes_or_is_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        try:
            genotypes = read_genotypes(path, BLOCKS)
        except ScheduleError as error:
            assert str(error).startswith(f"genotypes={path}: ")
        else:
            assert all(0 <= gene <= 1 for genes in genotypes for gene in genes)

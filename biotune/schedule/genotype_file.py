"""Reads genotype files: CSV with one column per block, and the threshold. Imports no torch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from biotune.errors import ScheduleError, one_line
from biotune.schedule.block import Block
from biotune.schedule.genotype import decode


def read_genotypes(file: str, blocks: Sequence[Block]) -> list[list[float]]:
    """Read a CSV file with one column per block, named after it, and the column `threshold`.

    Args:
        file: Path of the file.
        blocks: The network's blocks in forward order.

    Returns:
        One genotype per row: the importances in forward order, the threshold last; each in [0, 1].

    Raises:
        ScheduleError: The file is missing, its columns are wrong, or a gene is not a number in [0, 1].
    """
    wanted = [block.name for block in blocks] + ["threshold"]
    header, rows = _read_rows(file)
    _check_columns(file, header, wanted)
    if not rows:
        raise ScheduleError(f"genotypes={file}: has no rows.")
    genotypes = []
    for line, cells in rows:
        try:
            if len(cells) != len(header):
                raise ScheduleError(f"has {len(cells)} cells, but the header has {len(header)}.")
            genes = [float(cells[header.index(name)]) for name in wanted]
            decode(genes, blocks)
        except (ValueError, ScheduleError) as error:
            raise ScheduleError(f"genotypes={file}: line {line}: {one_line(error)}") from error
        genotypes.append(genes)
    return genotypes


def _read_rows(file: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and every row that is not blank, with its line number."""
    try:
        with Path(file).open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, skipinitialspace=True)
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise ScheduleError(f"genotypes={file}: cannot be read ({error.strerror}).") from error
    except (ValueError, csv.Error) as error:
        raise ScheduleError(f"genotypes={file}: is not a CSV file ({one_line(error)}).") from error
    if not rows:
        raise ScheduleError(f"genotypes={file}: is empty.")
    return [name.strip() for name in rows[0][1]], rows[1:]


def _check_columns(file: str, header: Sequence[str], wanted: Sequence[str]) -> None:
    lacking = [name for name in wanted if name not in header]
    odd = [repr(name) for name in header if name not in wanted]
    twice = sorted({name for name in header if name in wanted and header.count(name) > 1})
    parts = (("lacks", lacking), ("has unknown", odd), ("repeats", twice))
    complaint = "; ".join(f"{what} {', '.join(names)}" for what, names in parts if names)
    if complaint:
        raise ScheduleError(f"genotypes={file}: {one_line(complaint)[:500]}. Its columns must be {', '.join(wanted)}.")

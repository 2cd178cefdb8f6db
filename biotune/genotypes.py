"""Genotype files: a CSV table with a column a block, and the threshold. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from biotune.errors import ScheduleError, one_line
from biotune.schedule import Block, decode


def read_genotypes(file: str, blocks: Sequence[Block]) -> list[list[float]]:
    """Read a CSV file with a column a block name, and `threshold`.

    Raises:
        ScheduleError: The file is missing, its columns are not these, or a gene is no number in [0, 1].
    """
    wanted = [block.name for block in blocks] + ["threshold"]
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ScheduleError(f"genotypes={file}: cannot be read as CSV ({one_line(error)}).") from error
    lacking = [name for name in wanted if name not in table.columns]
    odd = [str(name) for name in table.columns if name not in wanted]
    if lacking or odd:
        complaint = "; ".join(
            f"{what} {', '.join(names)}" for what, names in (("lacks", lacking), ("has unknown", odd)) if names
        )
        raise ScheduleError(f"genotypes={file}: {complaint}. Its columns must be {', '.join(wanted)}.")
    if table.empty:
        raise ScheduleError(f"genotypes={file}: holds no row.")
    genotypes = []
    for number, cells in enumerate(table[wanted].itertuples(index=False), 2):
        try:
            genes = [float(cell) for cell in cells]
            decode(genes, blocks)
        except (ValueError, ScheduleError) as error:
            raise ScheduleError(f"genotypes={file}: line {number}: {one_line(error)}") from error
        genotypes.append(genes)
    return genotypes

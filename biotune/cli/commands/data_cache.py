"""`biotune data cache`: lists and clears the cache of decoded images."""

from __future__ import annotations

from biotune.cli.registry import EVERY
from biotune.cli.terminal.output_mode import take_output_mode
from biotune.cli.terminal.view import Cell, View
from biotune.errors import ConfigError, did_you_mean


def data_cache(arguments: list[str]) -> int:
    """List the entries of the cache of decoded images, or remove them.

    Args:
        arguments: The words after `biotune data cache`.

    Returns:
        The exit status, 0.

    Raises:
        ConfigError: Unknown options, or a dataset that is not in the cache.
    """
    from biotune.datasets.cache import clear, entries
    from biotune.store.scratch import cache_folder

    arguments, mode = take_output_mode(arguments, *EVERY["data cache"].modes)
    if not arguments:
        found = entries()
        total = sum(entry.size for entry in found)
        rows = [
            [
                entry.dataset,
                entry.images,
                entry.geometry,
                Cell(entry.size, size(entry.size)),
                Cell(entry.used.isoformat(), f"{entry.used:%Y-%m-%d %H:%M}"),
            ]
            for entry in found
        ]
        folder = cache_folder() / "decoded"
        with View(mode=mode) as view:
            view.fact("folder", str(folder))
            view.fact("size", total)
            columns = ["dataset", "pictures", "geometry", "size", "last use"]
            view.table(f"{folder}: {size(total)}", columns, rows, name="entries", headers={"pictures": "images"})
        return 0
    if arguments[0] != "--clear" or len(arguments) > 2:
        raise ConfigError(f"biotune data cache {' '.join(arguments)}: takes no arguments, or --clear [NAME].")
    name = arguments[1] if len(arguments) == 2 else None
    known = sorted({entry.dataset for entry in entries() if entry.dataset})
    if name is not None and name not in known:
        listed = f" It holds {', '.join(known)}." if known else " It is empty."
        raise ConfigError(f"biotune data cache --clear {name}: not in the cache.{did_you_mean(name, known)}{listed}")
    removed = clear(name)
    freed = sum(entry.size for entry in removed)
    with View(mode=mode) as view:
        view.fact("removed", len(removed))
        view.fact("freed", freed)
        view.line(f"{len(removed)} removed, {size(freed)} freed.")
    return 0


def size(count: int) -> str:
    """Return a number of bytes as text with a suitable unit, such as `1.2 MB` (powers of 1000)."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"

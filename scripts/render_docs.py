"""Renders the docstrings of every module into build/docs; fails where there is a warning."""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import biotune

FOLDER = Path(__file__).parents[1] / "build" / "docs"


def main(folder: Path = FOLDER) -> int:
    """Render all modules.

    Args:
        folder: Where the pages are written; pages of earlier times are overwritten.

    Returns:
        The exit status: 1 where pdoc had to warn.
    """
    # pdoc looks at what a module holds, and the package fetches these names only when they are asked for
    for name in biotune.__all__:
        getattr(biotune, name)
    modules = [module.name for module in pkgutil.walk_packages(biotune.__path__, "biotune.")]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        # a package without __all__ brings its modules along, one with __all__ does not: all are named here
        warnings.filterwarnings("ignore", "The module specification .* has already been added")
        pdoc.pdoc("biotune", *(name for name in modules if name != "biotune.__main__"), output_directory=folder)
    for warning in caught:
        print(warning.message, file=sys.stderr)
    print(f"{folder / 'index.html'}: {len(modules)} modules, {len(caught)} warnings")
    return 1 if caught else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))

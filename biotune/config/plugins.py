"""Loads the user's networks, datasets and strategies: the modules in the key `plugins`, the only key that names code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from biotune.errors import BiotuneError, ConfigError, one_line


def load_plugins(names: Sequence[str]) -> None:
    """Import modules that register networks, datasets or strategies; the working folder is searched too.

    Args:
        names: Dotted names of the modules.

    Raises:
        ConfigError: A module cannot be imported.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.insert(0, here)
    for name in names:
        try:
            importlib.import_module(name)
        except BiotuneError:
            raise
        except Exception as error:  # a user's module may raise any exception on import
            raise ConfigError(f"plugins={name}: cannot be imported ({type(error).__name__}: {one_line(error)}).") from error

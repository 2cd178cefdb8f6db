"""Which wrong answers of the final model are worth a look. Imports no plotting library: a run asks too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12


def surest_mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong answers that the model is surest of, the surest first, ties in the order of the test set.

    Args:
        predictions: The rows of `predictions.csv`, one per test image.

    Returns:
        At most twelve of these rows, with their positions as index.
    """
    wrong = predictions[predictions["true_class"] != predictions["predicted_class"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SHOWN)

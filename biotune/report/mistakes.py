"""The most confident mistakes of the final model. Imports no plotting library, because a run uses it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12


def surest_mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The mistakes with the highest predicted probability, the highest first; ties in the order of the test set.

    Args:
        predictions: The rows of `predictions.csv`, one per test image.

    Returns:
        At most twelve of these rows, with their positions as index.
    """
    wrong = predictions[predictions["true_class"] != predictions["predicted_class"]]
    return wrong.sort_values("probability", ascending=False, kind="stable").head(_SHOWN)

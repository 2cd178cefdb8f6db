"""The reliability diagram of the final model: how often a prediction of some confidence is right."""

from __future__ import annotations

from biotune.report.quality import calibration_error, confidences_of, reliability
from biotune.report.read import Run
from biotune.report.style import BLUE, MUTED, NARROW, Drawing, figure_with_axes, finish

_LARGEST = 170.0  # square points


def draw_reliability(run: Run) -> Drawing:
    """Accuracy over confidence on the test set, one dot per bin, with an area in proportion to its images.

    Source: Guo et al., *On calibration of modern neural networks*, ICML 2017, section 2.
    """
    confidences, right = confidences_of(run.predictions)
    bins = [one for one in reliability(confidences, right) if one is not None]
    figure, axes = figure_with_axes(NARROW, 3.3, {"left": 0.62, "right": 0.15, "bottom": 0.5, "top": 0.15})
    axes.plot([0, 100], [0, 100], "--", color=MUTED, linewidth=1)
    for one in bins:  # from a calibrated model to this one
        axes.plot([100 * one.confidence] * 2, [100 * one.confidence, 100 * one.accuracy], "-", color=BLUE, linewidth=1)
    most = max(one.count for one in bins)
    axes.scatter(
        [100 * one.confidence for one in bins],
        [100 * one.accuracy for one in bins],
        s=[8 + _LARGEST * one.count / most for one in bins],
        color=BLUE,
        alpha=0.7,
        linewidth=0,
        zorder=3,
    )
    axes.set(xlim=(0, 104), ylim=(-4, 104))
    axes.set_xlabel("mean confidence (%)")
    axes.set_ylabel("images classified right (%)")
    axes.grid()
    error = 100 * calibration_error(confidences, right)
    return finish(figure, "reliability", f"Accuracy over confidence; the expected calibration error is {error:.1f} %")

"""The templates of the pages, and how numbers are written in them. Imports neither pandas nor a plotting library."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from biotune.report.read import Score


@cache
def environment() -> Environment:
    """The environment of the templates; all values are escaped."""
    made = Environment(
        loader=PackageLoader("biotune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "score": score_text, "duration": duration, "count": "{:,}".format}
    return made


def template(name: str) -> Any:
    """A template by its file's name."""
    return environment().get_template(name)


def percent(value: float) -> str:
    """Format a fraction as a percentage; NaN gives '–'."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}\u202f%"


def signed(value: float) -> str:
    """Format a difference with its sign and one decimal; what rounds to 0 has none."""
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def score_text(score: Score | None) -> str:
    """Format a score as mean ± sd in percent; a single value without sd."""
    if score is None:
        return "–"
    if len(score.values) < 2:
        return percent(score.mean)
    return f"{100 * score.mean:.1f}\u202f±\u202f{100 * score.sd:.1f}\u202f%"


def duration(seconds: float) -> str:
    """Format seconds as s, min or h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

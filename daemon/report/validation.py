"""The validation as one self-contained page: the verdict first, then every table with its random walk, then plots.

Like the adherence report's, the page holds no script, loads nothing, and follows the reader's choice of light or dark.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from daemon.report import replace_file, validation_plots, words
from daemon.report.page import Figure, figure, templates
from daemon.research.validation import Outcome, Validation
from models.random_walk import MODEL_ID
from models.validate.report import CalibrationRow, Curve

__all__ = ["render", "write_validation"]


class Plots(msgspec.Struct, frozen=True, kw_only=True):
    """What one model's distribution did on one symbol."""

    symbol: str
    model: str
    coverage: Figure | None
    reliability: Figure | None
    pit: Figure | None


def write_validation(path: Path, outcome: Outcome) -> None:
    """Write the page, replacing an older one; the folder is made where it is missing.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, render(outcome).encode())


def render(outcome: Outcome) -> str:
    """The whole page. Equal outcomes give equal bytes."""
    found = outcome.validation
    return (
        templates()
        .get_template("validation.html.j2")
        .render(
            v=found,
            walk=MODEL_ID,
            skill=_groups(found.skill, "symbol", "horizon"),
            trading=_groups(found.trading, "symbol", "horizon"),
            agreement=_groups([row for row in found.agreement if row.called or row.model == MODEL_ID], "symbol"),
            rows=_groups(found.rows, "symbol", "horizon"),
            plots=[_plots(found, outcome.curves, *key) for key in _keys(found)],
            days=f"{found.data[0].first} to {found.data[0].last}" if found.data else "",
            dash=words.NONE,
        )
    )


def _groups(rows: Sequence[Any], *by: str) -> list[tuple[str, list[Any]]]:
    """Rows by what they share, in their order, each group with its heading."""
    groups = groupby(rows, key=lambda row: tuple(getattr(row, name) for name in by))
    return [(", ".join(key) + (" ahead" if len(key) > 1 else ""), list(members)) for key, members in groups]


def _keys(found: Validation) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.symbol, row.model) for row in found.calibration))


def _plots(found: Validation, curves: Sequence[Curve], symbol: str, model: str) -> Plots:
    own = [row for row in found.calibration if (row.symbol, row.model) == (symbol, model)]
    timed = [curve for curve in curves if (curve.symbol, curve.model) == (symbol, model)]
    name = f"{symbol}-{model}".lower()
    return Plots(
        symbol=symbol,
        model=model,
        coverage=figure(
            validation_plots.coverage(timed, f"c-{name}"),
            f"Coverage of {symbol}, {model}, over time: " + "; ".join(_last(curve) for curve in timed) + ".",
            f"Share of the newest {timed[0].window} truths inside the interval of {words.percent(found.level, 0)}, "
            "with its 95 % interval for so many forecasts as do not overlap.",
        )
        if timed
        else None,
        reliability=figure(
            validation_plots.reliability(own, f"r-{name}"),
            f"Reliability of {symbol}, {model}: " + "; ".join(_farthest(row) for row in own) + ".",
            "On the dashed line every promise is kept; below it intervals are too narrow.",
        ),
        pit=figure(
            validation_plots.pit(own, f"p-{name}"),
            f"PIT of {symbol}, {model}: "
            + "; ".join(f"{row.horizon} ahead p {words.number(row.pit_p, 2)} for evenness" for row in own)
            + ".",
            "Even bars: the distribution tells the truth. Heaped at both ends: too narrow; in the middle: too wide.",
        ),
    )


def _last(curve: Curve) -> str:
    low, high = min(curve.coverage), max(curve.coverage)
    return f"{curve.horizon} ahead {words.percent(low)} to {words.percent(high)}"


def _farthest(row: CalibrationRow) -> str:
    level = max(row.levels, key=lambda each: abs(each.coverage - each.level))
    return f"{row.horizon} ahead farthest at {words.percent(level.level, 0)}, {words.percent(level.coverage)} held"

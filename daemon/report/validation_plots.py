"""Plots of the validation page: coverage over time, reliability, and the PIT histogram."""

from collections.abc import Sequence
from typing import Any

from bus.calendar import to_datetime
from daemon.report.plots import BAND, INK, MAIN, MUTED, dates, draw
from models.validate.report import CalibrationRow, Curve


def coverage(curves: Sequence[Curve], name: str) -> str:
    """Coverage over time with its 95 % interval, one panel a horizon; `curves` are of one symbol and one model."""

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for axis, curve in zip(panels, curves, strict=True):
            times = [to_datetime(at) for at in curve.at_ns]
            low, high, share = ([100 * each for each in side] for side in (curve.low, curve.high, curve.coverage))
            axis.fill_between(times, low, high, color=BAND, alpha=0.25, linewidth=0)
            axis.plot(times, share, color=MAIN, linewidth=1.4)
            axis.axhline(100 * curve.level, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(f"{curve.horizon} ahead")
            dates(axis)
        panels[0].set_ylabel("held, %")

    return draw(name, (9.6, 2.6), paint)


def reliability(rows: Sequence[CalibrationRow], name: str) -> str:
    """What intervals of each level held against what they promise, one panel a horizon; `rows` of one symbol and model.

    Bars are 95 % intervals; on the dashed line a promise is kept.
    """

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
        for axis, row in zip(panels, rows, strict=True):
            promised = [100 * each.level for each in row.levels]
            held = [100 * each.coverage for each in row.levels]
            below = [100 * (each.coverage - each.low) for each in row.levels]
            above = [100 * (each.high - each.coverage) for each in row.levels]
            axis.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.errorbar(promised, held, yerr=[below, above], color=MAIN, linewidth=1.4, marker="o", markersize=3.5,
                          elinewidth=1.0)  # fmt: skip
            axis.set_title(f"{row.horizon} ahead")
            axis.set_xlabel("promised, %")
            axis.set_aspect("equal")
        panels[0].set_ylabel("held, %")

    return draw(name, (9.6, 3.3), paint)


def pit(rows: Sequence[CalibrationRow], name: str) -> str:
    """Share of truths in each tenth of the forecast distribution, one panel a horizon; the dashed line is even."""

    def paint(figure: Any) -> None:
        panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
        for axis, row in zip(panels, rows, strict=True):
            width = 1.0 / len(row.pit)
            places = [(place + 0.5) * width for place in range(len(row.pit))]
            axis.bar(places, [100 * share for share in row.pit], width=0.92 * width, color=BAND)
            axis.axhline(100 * width, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(f"{row.horizon} ahead")
            axis.set_xlabel("rank of the truth in the forecast")
        panels[0].set_ylabel("truths, %")

    return draw(name, (9.6, 2.6), paint)

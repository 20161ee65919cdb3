"""What a validation comes to, in plain sentences: is there an edge after costs, and do the intervals tell the truth?"""

from collections.abc import Sequence

import msgspec

from models.random_walk import MODEL_ID
from models.validate.report import SkillRow, TradingRow

SURE = 0.95
"""A deflated Sharpe ratio above this is called an edge: the chance that it is luck is below one in twenty."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The headline, and the sentences that it rests on. `edge`: something earned that luck does not explain."""

    edge: bool
    headline: str
    sentences: tuple[str, ...]


def judge(level: float, coverage: Sequence[float], skill: Sequence[SkillRow], trading: Sequence[TradingRow]) -> Verdict:
    """Put the tables into words.

    Args:
        level: nominal coverage.
        coverage: measured coverage of the daemon's own intervals, one a symbol and horizon.
        skill: all rows; those of the random walk are what others are held against.
        trading: all rows, deflated.
    """
    trained = [row for row in skill if row.model != MODEL_ID]
    traded = [row for row in trading if row.model != MODEL_ID]
    sure = [row for row in traded if row.dsr is not None and row.dsr > SURE and row.net > 0]
    leaks = [row for row in trained if row.leak_suspected]
    sentences = [*_skill(trained), *_trading(traded), *_intervals(level, coverage), *_leaks(leaks)]
    if not trained:
        headline = "No trained forecaster was measured."
    elif sure and not leaks:
        headline = f"{_cells(len(sure))} earned more after costs than luck explains."
    elif sure:
        headline = "What earned after costs comes with a suspected leak."
    else:
        headline = "No edge after costs."
    return Verdict(edge=bool(sure) and not leaks, headline=headline, sentences=tuple(sentences))


def _skill(trained: Sequence[SkillRow]) -> list[str]:
    if not trained:
        return []
    better = sum(row.crps_p is not None and row.crps_p < 0.05 and (row.crps_t or 0.0) < 0 for row in trained)
    worse = sum(row.crps_p is not None and row.crps_p < 0.05 and (row.crps_t or 0.0) > 0 for row in trained)
    sentence = (
        f"Of {_cells(len(trained))} of model, market and horizon, {better} forecast better than the random walk (CRPS, "
        f"5 % level) and {worse} worse; where all are equal to it, luck gives about {0.025 * len(trained):.1f} of each."
    )
    return [sentence]


def _trading(traded: Sequence[TradingRow]) -> list[str]:
    best = max((row for row in traded if row.sharpe is not None), key=lambda row: row.sharpe or 0.0, default=None)
    if best is None or best.sharpe is None or best.sharpe_lo is None or best.sharpe_hi is None:
        return ["Nothing was traded."] if traded else []
    sentence = (
        f"The best Sharpe ratio after costs is {best.sharpe:.2f} a year (95 % {best.sharpe_lo:.2f} to "
        f"{best.sharpe_hi:.2f}): {best.symbol} {best.horizon}, {best.model} by {best.rule}. That it is more than the "
        f"luck of the best of {best.trials} attempts is {100 * (best.dsr or 0.0):.0f} % sure (deflated Sharpe ratio)."
    )
    return [sentence]


def _intervals(level: float, coverage: Sequence[float]) -> list[str]:
    if not coverage:
        return []
    low, high = 100 * min(coverage), 100 * max(coverage)
    return [f"The daemon's intervals of {100 * level:g} % held {low:.1f} to {high:.1f} % of the truths."]


def _leaks(leaks: Sequence[SkillRow]) -> list[str]:
    return [
        f"{row.symbol} {row.horizon}, {row.model}: {100 * (row.directional_accuracy or 0.0):.1f} % of directions right "
        f"is likelier a leak than skill; look for it first.{_of_mid(row)}"
        for row in leaks
    ]


def _of_mid(row: SkillRow) -> str:
    """Where the mid was called no better than usual, the leak is in the spread of the bid."""
    if row.directional_mid is None:
        return ""
    return f" Of the mid {100 * row.directional_mid:.1f} % were right: what lies between is the spread's."


def _cells(count: int) -> str:
    return f"{count} combination" if count == 1 else f"{count} combinations"

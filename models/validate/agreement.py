"""Do a model's horizons say the same? Up in an hour while down in a day is a flag; what followed it is counted."""

from itertools import combinations

import msgspec
import numpy as np

from models.columns import Floats
from models.validate.rows import round_to
from models.validate.tracks import Flags, History
from models.validate.walkforward import Tracks

OFTEN = 0.5
"""Above this share of contradictions the horizons know nothing of each other: they agree less often than coins."""


class AgreementRow(msgspec.Struct, frozen=True, kw_only=True):
    """Two horizons of one model on one market.

    Attributes:
        short: the nearer horizon, as it was asked for; `long`: the farther.
        n: forecasts; `called`: those where both named a direction.
        contradictions: share of `called` where they named opposite ones; None where there were no calls. Likewise
            `short_up`: those that were up for the short and down for the long horizon, and `short_down`.
        flagged: contradictions are more than half of the calls.
        short_right: share of contradictions after which the price at the short horizon had gone its way;
            `long_right`: at the long horizon the long one's; None where there were none. Each forgets bars whose price
            did not move.
        short_right_agreed: the same where the two agreed; likewise `long_right_agreed`.
        followed: mean log return, in basis points, to the long horizon in the short horizon's direction after a
            contradiction: above 0 = the short horizon was the one to listen to; `followed_agreed` where they agreed.
    """

    symbol: str
    model: str
    short: str
    long: str
    n: int
    called: int
    contradictions: float | None
    short_up: float | None
    short_down: float | None
    flagged: bool
    short_right: float | None
    long_right: float | None
    short_right_agreed: float | None
    long_right_agreed: float | None
    followed: float | None
    followed_agreed: float | None


def agreement_rows(history: History, tracks: Tracks) -> list[AgreementRow]:
    """One row a model and pair of horizons, the random walk's (which never calls) first."""
    order = sorted(range(len(history.bars)), key=history.bars.__getitem__)
    return [_pair(history, tracks, name, *pair) for name in tracks for pair in combinations(order, 2)]


def _pair(history: History, tracks: Tracks, name: str, short: int, long: int) -> AgreementRow:
    rows, tested = history.rows, history.tested
    close = rows.close_e5[tested].astype(np.float64)
    near, far = (np.sign(tracks[name][column].point_e5 - close) for column in (short, long))
    moved_near, moved_far = (np.log(rows.actual_e5[tested, column] / close) for column in (short, long))
    both = (near != 0) & (far != 0)
    called = int(both.sum())
    apart, agreed = both & (near != far), both & (near == far)
    contradictions = _share(apart, both)
    return AgreementRow(
        symbol=history.series.symbol,
        model=name,
        short=history.horizons[short],
        long=history.horizons[long],
        n=len(close),
        called=called,
        contradictions=contradictions,
        short_up=_share(apart & (near > 0), both),
        short_down=_share(apart & (near < 0), both),
        flagged=contradictions is not None and contradictions > OFTEN,
        short_right=_right(near, moved_near, apart),
        long_right=_right(far, moved_far, apart),
        short_right_agreed=_right(near, moved_near, agreed),
        long_right_agreed=_right(far, moved_far, agreed),
        followed=_mean(near * moved_far * 1e4, apart),
        followed_agreed=_mean(near * moved_far * 1e4, agreed),
    )


def _right(called: Floats, moved: Floats, where: Flags) -> float | None:
    return _mean((np.sign(moved) == called).astype(np.float64), where & (moved != 0))


def _share(some: Flags, of: Flags) -> float | None:
    return round_to(float(some.sum()) / float(of.sum())) if of.any() else None


def _mean(values: Floats, where: Flags) -> float | None:
    return round_to(float(values[where].mean())) if where.any() else None

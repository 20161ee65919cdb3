"""Swings of a market: alternating tops and bottoms, each with the bar from which on it could be known.

A top is a bar whose high no later bar exceeded until some bar closed a reversal below it; a bottom mirrors it. The
reversal is the caller's, bar by bar (in practice a multiple of the average true range, so that what counts as a swing
is free of scale). Extremes are taken from highs and lows, confirmations from closes: a spike is a turning point, but
it takes a close to say that the market has turned.

A pivot is not known when it happens. `known` is the first bar at whose close it is, and whoever uses one before that
bar looks ahead. There is no fixed delay: it takes as long as the reversal does.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Pivot(NamedTuple):
    """One turning point.

    Attributes:
        bar: where it is.
        price: the bar's high for a top, its low for a bottom.
        top: whether it is a top.
        known: the bar whose close confirmed it, always after `bar`.
    """

    bar: int
    price: int
    top: bool
    known: int


def zigzag(
    highs: Sequence[int], lows: Sequence[int], closes: Sequence[int], reversals: Sequence[float]
) -> tuple[Pivot, ...]:
    """The pivots that are known at the last bar, oldest first, tops and bottoms in turn.

    Args:
        highs: of each bar, oldest first; the other columns have the same length.
        lows: of each bar.
        closes: of each bar.
        reversals: how far a close must be from the extreme of this bar to confirm it, in price units; 0 = this bar is
            no extreme that could be confirmed. Bars before the first that is above 0 are passed over.

    The first turn of the columns is left out, because nothing says what came before it. A pivot never changes when
    bars are added. Of equal extremes the first counts. A bar that makes a new extreme confirms nothing itself,
    since the order within a bar is unknown, and no bar confirms two pivots.
    """
    turned = _first_turn(highs, lows, closes, reversals)
    if turned is None:
        return ()
    start, rising, after = turned
    found: list[Pivot] = []
    # where the market has got to since the last turn, and the close that would confirm it as the next
    at, extreme, turn = _reach(highs, lows, reversals, after, start, rising=rising)
    for bar in range(start + 1, len(highs)):
        if rising:
            if highs[bar] > extreme:
                at, extreme = bar, highs[bar]
                turn = extreme - (reversals[bar] or math.inf)
            elif closes[bar] <= turn:
                found.append(Pivot(at, extreme, True, bar))
                rising = False
                at, extreme, turn = _reach(highs, lows, reversals, at, bar, rising=False)
        elif lows[bar] < extreme:
            at, extreme = bar, lows[bar]
            turn = extreme + (reversals[bar] or math.inf)
        elif closes[bar] >= turn:
            found.append(Pivot(at, extreme, False, bar))
            rising = True
            at, extreme, turn = _reach(highs, lows, reversals, at, bar, rising=True)
    return tuple(found)


def _first_turn(
    highs: Sequence[int], lows: Sequence[int], closes: Sequence[int], reversals: Sequence[float]
) -> tuple[int, bool, int] | None:
    """The bar that confirms the first turn, whether the market rises from there, and the bar of the turn itself."""
    top = bottom = next((bar for bar, reversal in enumerate(reversals) if reversal > 0.0), len(highs))
    for bar in range(top + 1, len(highs)):
        top = bar if highs[bar] > highs[top] else top
        bottom = bar if lows[bar] < lows[bottom] else bottom
        falls = top < bar and closes[bar] <= highs[top] - (reversals[top] or math.inf)
        rises = bottom < bar and closes[bar] >= lows[bottom] + (reversals[bottom] or math.inf)
        if falls and rises:
            top = bottom = bar
        elif falls or rises:
            return bar, rises, bottom if rises else top
    return None


def _reach(
    highs: Sequence[int], lows: Sequence[int], reversals: Sequence[float], after: int, last: int, *, rising: bool
) -> tuple[int, int, float]:
    """The extreme of the bars behind `after` up to `last`: its bar, its price, and the close that would confirm it."""
    bars = range(after + 1, last + 1)
    if rising:
        at = max(bars, key=highs.__getitem__)
        return at, highs[at], highs[at] - (reversals[at] or math.inf)
    at = min(bars, key=lows.__getitem__)
    return at, lows[at], lows[at] + (reversals[at] or math.inf)

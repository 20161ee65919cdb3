"""Named chart patterns in the newest bars: what serving tells of `models.chartpatterns`. Numpy alone, no state.

A pattern is told at the bar that completes it and not again. How each looks in exact inequalities stands in the
docstring of its detector; `docs/patterns.md` says how often planted ones are found, how often the same shapes come up
in a random walk (often), and that nothing follows from them on real prices that costs would leave.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from bus.messages import ForecastRequested, PatternSeen
from models.chart import LOOKBACK, Chart
from models.chartpatterns import catalogue
from models.columns import Columns
from models.contract import Detector

MODEL_ID = "pattern-rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A named pattern that the newest bar completes.

    Attributes:
        name: for instance `double_top`.
        direction: 1 bullish, -1 bearish, 0 neither.
        confidence: 0 to 1 (`models.contract.Sighting`).
        candles: offsets of the bars that carry it, 0 = newest, newest first.
    """

    name: str
    direction: int
    confidence: float
    candles: tuple[int, ...]


@cache
def _sides() -> tuple[tuple[Detector, str, int], ...]:
    return tuple((pattern.detect, name, direction) for pattern in catalogue() for name, direction in pattern.sides)


def named(columns: Columns) -> list[Named]:
    """Every named pattern that the newest bar completes, in the order of the catalogue. Never looks beyond it."""
    upright = Chart.of(columns)
    found: list[Named] = []
    for detect, name, direction in _sides():
        sighting = detect(upright.mirrored if direction < 0 else upright)
        if sighting is not None:
            candles = tuple(upright.last - bar for bar in sighting.bars)
            found.append(Named(name=name, direction=direction, confidence=sighting.confidence, candles=candles))
    return found


def scan(columns: Columns, start: int = 0) -> Iterator[tuple[int, Named]]:
    """Bar by bar from `start` on, what `named` told when that bar was the newest: (position of the bar, pattern)."""
    for bar in range(start, len(columns)):
        for one in named(columns.rows(max(0, bar + 1 - LOOKBACK), bar + 1)):
            yield bar, one


def look(request: ForecastRequested, columns: Columns) -> list[PatternSeen]:
    """`named`, as messages."""
    return [
        PatternSeen(
            request_id=request.request_id,
            symbol=request.symbol,
            pattern=one.name,
            model_id=MODEL_ID,
            as_of_ns=request.as_of_ns,
            error_ppm=0,
            threshold_ppm=0,
            percentile=0.0,
            candles=one.candles,
            ts_init_ns=request.as_of_ns,
            confidence_ppm=round(one.confidence * 1_000_000),
            direction=one.direction,
        )
        for one in named(columns)
    ]

"""What the bars of a training were like, for its artifact: see `models.summary`."""

from bisect import bisect_left
from collections.abc import Sequence

from bus.messages import Histogram, TrainingSummary
from bus.series import BarSeries
from models.summary import CELLS, FEWEST, OCTAVES, Measured, Measures
from models.volatility import SeasonalVolatility

_PPM = 1_000_000
_WARM_UP = 500


def summarise(*series: BarSeries) -> TrainingSummary | None:
    """Summarise runs of bars of one market behind each other. None where they are too few to say anything.

    The first bars only teach the volatility: 500 of them, or a third where there are fewer than 1,500.
    """
    volatility, measures = SeasonalVolatility(series[0].period_ns), Measures()
    found: list[Measured] = []
    before_e5 = 0
    for one in series:
        columns = (one.ts_open_ns, one.high_e5, one.low_e5, one.close_e5)
        for ts_open_ns, high_e5, low_e5, close_e5 in zip(*(each.tolist() for each in columns), strict=True):
            scale_e5 = volatility.scale_e5(before_e5, 1) if before_e5 and volatility.known else 0
            measured = measures.update(high_e5, low_e5, close_e5, scale_e5)
            if measured is not None:
                found.append(measured)
            volatility.update(ts_open_ns, high_e5, low_e5, close_e5)
            before_e5 = close_e5
    found = found[min(_WARM_UP, len(found) // 3) :]
    powers = [each.octaves for each in found if each.octaves is not None]
    totals = [sum(power[level] for power in powers) for level in range(OCTAVES)]
    if len(powers) < FEWEST or not any(totals):
        return None
    return TrainingSummary(
        bars=len(found),
        returns=_histogram([each.return_ppm for each in found]),
        ranges=_histogram([each.range_ppm for each in found]),
        octaves_ppm=tuple(_PPM * total // sum(totals) for total in totals),
    )


def _histogram(values: Sequence[int]) -> Histogram:
    """Deciles; equal ones are one edge, so that there are fewer cells where a value is frequent."""
    ordered = sorted(values)
    n = len(ordered)
    edges = tuple(sorted({ordered[n * cell // CELLS] for cell in range(1, CELLS)}))
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_left(edges, value)] += 1
    return Histogram(edges=edges, shares_ppm=tuple(_PPM * count // n for count in counts))

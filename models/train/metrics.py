"""How good forecasts were, beside the random walk's. Basis points of log return throughout.

CRPS is the exact one of a Gaussian (Gneiting and Raftery 2007); Winkler the interval score (u - l) + (2/a) misses
(Winkler 1972); pinball the mean of the losses at 5 % and 95 %. Intervals are those a user would have been given: the
online calibrator runs through the rows in time order, its labels delayed by the horizon, after WARM_UP rows.
"""

import math
from collections.abc import Sequence

import numpy as np

from bus.messages import HorizonForecast
from models.artifact import MetricRow
from models.columns import Floats
from models.conformal import calibrator, score
from models.random_walk import to_prices
from models.scores import crps_normal
from models.train.data import Rows

LEVEL_PPM = 900_000
WARM_UP = 50
_ALPHA = 1.0 - LEVEL_PPM / 1e6
_BP = 1e4


def mean_crps(expected: Floats, rows: Rows, spread: Floats | None = None) -> float:
    """Mean CRPS over all rows and horizons, in sigmas. Chooses the active model.

    Args:
        expected: shape (n, m).
        rows: the n rows.
        spread: standard deviations, shape (n, m); None = 1, the random walk's.
    """
    return float(crps_normal(rows.labels - expected, np.ones_like(expected) if spread is None else spread).mean())


def forecasts_of(
    expected: Floats, rows: Rows, column: int, horizon: int, spread: Floats | None = None
) -> list[HorizonForecast]:
    """The integer forecasts that serving would have given for one horizon; arguments as above."""
    spreads = np.ones_like(expected) if spread is None else spread
    return [
        to_prices(close_e5, z, sigma, horizon, scale)
        for close_e5, z, sigma, scale in zip(
            rows.close_e5.tolist(),
            expected[:, column].tolist(),
            rows.sigma.tolist(),
            spreads[:, column].tolist(),
            strict=True,
        )
    ]


def scores_of(
    forecasts: Sequence[HorizonForecast], scales_e5: Sequence[int], rows: Rows, column: int
) -> tuple[float, ...]:
    """Nonconformity scores in time order, as the core will compute them: in units of the market's volatility."""
    return tuple(
        score(actual_e5, forecast.point_e5, scale_e5)
        for forecast, scale_e5, actual_e5 in zip(forecasts, scales_e5, rows.actual_e5[:, column].tolist(), strict=True)
    )


def measure(
    model: str,
    forecasts: Sequence[HorizonForecast],
    scores: Sequence[float],
    scales_e5: Sequence[int],
    rows: Rows,
    column: int,
    spread: Floats | None = None,
) -> MetricRow:
    """One row of the table; `spread` as above."""
    horizon = forecasts[0].horizon
    close = rows.close_e5.astype(np.float64)
    actual = np.log(rows.actual_e5[:, column] / close)
    point = np.log(np.array([forecast.point_e5 for forecast in forecasts]) / close)
    sigma = rows.sigma * math.sqrt(horizon) * (1.0 if spread is None else spread[:, column])
    called = np.sign(point) * np.sign(actual)
    covered, widths, winklers = _intervals(forecasts, scores, scales_e5, rows, column)
    return MetricRow(
        model=model,
        horizon=horizon,
        n=len(rows),
        rmse_bp=_rounded(math.sqrt(float(np.mean((actual - point) ** 2))) * _BP),
        crps_bp=_rounded(float(crps_normal(actual - point, sigma).mean()) * _BP),
        # the interval score is 2/a times the sum of the pinball losses at a/2 and 1 - a/2
        pinball_bp=_rounded(winklers * _ALPHA / 4.0),
        winkler_bp=_rounded(winklers),
        width_bp=_rounded(widths),
        coverage=_rounded(covered),
        hits=int((called > 0).sum()),
        calls=int((called != 0).sum()),
    )


def _intervals(
    forecasts: Sequence[HorizonForecast],
    scores: Sequence[float],
    scales_e5: Sequence[int],
    rows: Rows,
    column: int,
) -> tuple[float, float, float]:
    """Coverage, mean width and mean Winkler score (both bp) of online intervals; all 0 where rows are too few."""
    online = calibrator((LEVEL_PPM,), forecasts[0].horizon)
    issued: list[bool] = []
    covered = counted = 0
    width = winkler = 0.0
    actuals, closes = rows.actual_e5[:, column].tolist(), rows.close_e5.tolist()
    for row, forecast in enumerate(forecasts):
        resolved = row - forecast.horizon
        if resolved >= 0:
            online.update(scores[resolved], (issued[resolved],))
        (band,) = online.interval(forecast.point_e5, scales_e5[row])
        held = band.lower_e5 <= actuals[row] <= band.upper_e5
        issued.append(held)
        if not band.bounded or row < forecast.horizon + WARM_UP:
            continue
        counted += 1
        covered += held
        span = band.upper_e5 - band.lower_e5
        beyond = max(band.lower_e5 - actuals[row], actuals[row] - band.upper_e5, 0)
        width += span / closes[row]
        winkler += (span + 2.0 / _ALPHA * beyond) / closes[row]
    if not counted:
        return 0.0, 0.0, 0.0
    return covered / counted, width / counted * _BP, winkler / counted * _BP


def table(rows: Sequence[MetricRow]) -> str:
    """The rows as plain text, for terminals and reports."""
    width = max(12, *(len(row.model) for row in rows))
    lines = [f"{'model':<{width}}  h     n  rmse_bp  crps_bp  winkler_bp  width_bp  coverage  hit rate (calls)"]
    for row in rows:
        rate = f"{row.hits / row.calls:.3f} ({row.calls})" if row.calls else "- (0)"
        lines.append(
            f"{row.model:<{width}}{row.horizon:>3}{row.n:>6}{row.rmse_bp:>9.2f}{row.crps_bp:>9.3f}{row.winkler_bp:>12.2f}"
            f"{row.width_bp:>10.2f}{row.coverage:>10.3f}  {rate}"
        )
    return "\n".join(lines)


def _rounded(value: float) -> float:
    return round(value, 6)

"""What a forecaster sees of the market: named features, computed by one code live and offline.

Theory of operation. A feature at bar t depends on the `startup` bars that end with t and on nothing else, and is
bit-equal whether it is computed from the whole history, from a request's 256 bars, or from those bars alone
(`_windows` says how). So live a bar costs the same after a year as after a day, offline years are one vectorised pass,
and there is no state that could differ between the two. Rows with too little history are NaN. Times are those of the
bar's close.

Features stand in groups, one file each; `_registry` finds them. Adding one is a function with the decorator `feature`
in one of those files; the contract suite (`tests/contracts/test_feature_contract.py`) holds it to all of the above.
A set of features is a tuple of names, in the order of a model's inputs; `schema_hash` says what such a set means, and
artifacts trained on another meaning are refused. What a feature needs beside bars (counts of quotes, ticks, other
pairs) is absent or there, never zero.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from bus.errors import DataError, ModelError
from models.columns import Columns, Floats
from models.features._inputs import Inputs, Panel, TickBars, align, tick_bars
from models.features._market import SIGMA_BARS, SIGMA_FLOOR, Market
from models.features._registry import LONGEST, Feature, Need, discover

__all__ = [
    "ALL", "DEFAULT", "LONGEST", "SIGMA_BARS", "SIGMA_FLOOR", "Feature", "Inputs", "Market", "Need", "Panel",
    "TickBars", "align", "compute", "latest", "needing", "newest_sigma", "row", "rows", "schema", "schema_hash",
    "startup", "tick_bars", "volatility",
]  # fmt: skip

ALL: dict[str, Feature] = discover()
"""Every feature by name."""

DEFAULT: tuple[str, ...] = (
    "ret_1", "ret_2", "ret_4", "ret_8", "ret_24", "ret_64",
    "vol_ewma", "vol_close_24", "vol_parkinson_24", "vol_garman_klass_24", "vol_ratio_8_64",
    "ma_distance_8", "ma_distance_24", "ma_distance_96", "ma_cross",
    "rsi_cutler_14", "bollinger_20", "range_position_24", "range_position_96", "up_share_8", "autocorrelation_24",
    "body", "upper_wick", "lower_wick", "range_sigma", "true_range_14",
    "spread_bp", "spread_ratio_24",
    "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "session_london", "session_new_york", "session_overlap",
    "near_rollover",
    "gap_bars", "gap_return",
)  # fmt: skip
"""What the default models look at."""

_CHUNK = 4096
"""Rows computed at a time: few enough for the processor's cache, and for memory where there are millions."""


def needing(*needs: Need) -> tuple[str, ...]:
    """Names of the features that need no more than `bars` and what is named here."""
    return tuple(name for name, one in ALL.items() if one.needs == "bars" or one.needs in needs)


def startup(names: Sequence[str] = DEFAULT) -> int:
    """Bars that a row of these features depends on, sigma included."""
    return max(SIGMA_BARS, *(one.startup for one in _chosen(tuple(names))))


def schema(names: Sequence[str] = DEFAULT) -> list[dict[str, object]]:
    """What each of these features is, for people and for JSON: name, group, formula, needs, start-up length, hash."""
    return [
        {"name": one.name, "group": one.group, "formula": one.formula, "needs": one.needs, "startup": one.startup,
         "args": list(one.args), "hash": one.hash}
        for one in _chosen(tuple(names))
    ]  # fmt: skip


@lru_cache(maxsize=256)
def schema_hash(names: tuple[str, ...] = DEFAULT) -> str:
    """Identity of what a row means: sha256 over the features' hashes in order.

    Raises:
        ModelError: a name that this release does not know.
    """
    return hashlib.sha256(json.dumps([one["hash"] for one in schema(names)]).encode()).hexdigest()


def compute(inputs: Inputs | Columns, names: Sequence[str] = DEFAULT) -> Floats:
    """Features of all rows, shape (n, len(names)), in the order of names; NaN where history is too short.

    Raises:
        ModelError: a name that this release does not know.
        DataError: a feature that needs what is not there.
    """
    inputs = _inputs(inputs)
    chosen = _chosen(tuple(names))
    _require(inputs, chosen)
    out = np.empty((len(inputs), len(chosen)))
    before = startup(names) - 1
    for start in range(0, len(inputs), _CHUNK):
        first, stop = max(0, start - before), min(start + _CHUNK, len(inputs))
        market = Market(inputs.rows(first, stop), newest=stop - start)
        for position, values in enumerate(_values(market, chosen)):
            out[start:stop, position] = values[start - first :]
    return out


def latest(inputs: Inputs | Columns, names: Sequence[str] = DEFAULT) -> tuple[Floats, float]:
    """The newest row's features, shape (len(names),), and its sigma: what `compute` gives, at the cost of one row.

    A feature with too few bars is NaN. Raises like `compute`.
    """
    market = Market(_inputs(inputs).tail(LONGEST), newest=1)
    return row(market, names), newest_sigma(market)


def row(market: Market, names: Sequence[str] = DEFAULT) -> Floats:
    """The newest row's features, shape (len(names),). What several sets share is computed once for the market.

    Raises like `compute`.
    """
    chosen = _chosen(tuple(names))
    _require(market.inputs, chosen)
    if not len(market):
        return np.full(len(chosen), np.nan)
    return np.array([values[-1] for values in _values(market, chosen)])


def rows(market: Market, count: int, names: Sequence[str] = DEFAULT) -> Floats:
    """The newest `count` rows, shape (count, len(names)), oldest first; NaN where history is too short.

    Args:
        market: made for at least `count` newest rows.
        count: rows wanted.
        names: of the features.

    Raises like `compute`.
    """
    chosen = _chosen(tuple(names))
    _require(market.inputs, chosen)
    found = np.full((count, len(chosen)), np.nan)
    there = min(count, len(market))
    for position, values in enumerate(_values(market, chosen)):
        found[count - there :, position] = values[len(market) - there :]
    return found


def newest_sigma(market: Market) -> float:
    """`volatility` at the newest bar; NaN where there are fewer than SIGMA_BARS."""
    with np.errstate(invalid="ignore"):
        return float(market.sigma[-1]) if len(market) else math.nan


def volatility(columns: Columns) -> Floats:
    """Sigma of one bar's log return, shape (n,): root of the EWMA (0.94) of the last 128 squared returns.

    Known at the close of bar t, so lagged by construction for anything after it. NaN for the first 128 rows, never
    below SIGMA_FLOOR.
    """
    with np.errstate(invalid="ignore"):
        return Market(Inputs(columns=columns)).sigma


def _inputs(given: Inputs | Columns) -> Inputs:
    return given if isinstance(given, Inputs) else Inputs(columns=given)


@lru_cache(maxsize=256)
def _chosen(names: tuple[str, ...]) -> tuple[Feature, ...]:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise ModelError(f"no feature is called {', '.join(unknown)}; `models.features.ALL` has their names")
    if not names or len(set(names)) != len(names):
        raise ModelError(f"features {names}; name at least one, and each once")
    return tuple(ALL[name] for name in names)


def _require(inputs: Inputs, chosen: Sequence[Feature]) -> None:
    absent = [one for one in chosen if not inputs.has(one.needs)]
    if absent:
        raise DataError(
            f"{', '.join(one.name for one in absent)}: without {', '.join(sorted({one.needs for one in absent}))} "
            "these features are absent; give what they need, or leave them out"
        )


def _values(market: Market, chosen: Sequence[Feature]) -> Iterator[Floats]:
    """Each feature of all rows; what a market has been asked before is not computed again."""
    with np.errstate(invalid="ignore"):
        for one in chosen:
            values = market.memo.get(one.name)
            if not isinstance(values, np.ndarray):
                values = market.memo[one.name] = one.values(market)
            yield values

"""What features need beside bars: counts of quotes, ticks and other pairs are absent or there, and known in time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bus.errors import DataError, ModelError
from bus.series import TickSeries
from bus.values import NS_PER_S
from models import features
from models.columns import from_series
from models.features import ALL, Inputs, align, compute, latest, schema_hash, tick_bars, volatility
from tests.harness.markets import made_up_bars
from tests.harness.sources import made_up

BARS = made_up_bars(900, 4)
COLUMNS = from_series(BARS)


def column(name, inputs=COLUMNS):
    return compute(inputs, (name,))[:, 0]


def test_what_a_feature_needs_is_absent_or_there_and_never_zero():
    assert ALL["tick_intensity_8"].needs == "quotes"
    assert set(features.needing("ticks")) > set(features.needing())
    uncounted = replace(COLUMNS, quotes=COLUMNS.quotes * 0)
    for name, inputs, need in (
        ("tick_intensity_8", uncounted, "quotes"),
        ("flow_imbalance_1", COLUMNS, "ticks"),
        ("dollar_strength_1", COLUMNS, "cross"),
    ):
        with pytest.raises(DataError, match=f"{name}: without {need}"):
            compute(inputs, ("ret_1", name))
        with pytest.raises(DataError, match=f"{name}: without {need}"):
            latest(inputs, ("ret_1", name))


def test_bars_whose_quotes_nobody_counted_are_nan_where_they_enter():
    quotes = COLUMNS.quotes.copy()
    quotes[500] = 0
    missing = np.flatnonzero(np.isnan(column("tick_intensity_8", replace(COLUMNS, quotes=quotes))[7:])) + 7
    assert missing.tolist() == list(range(500, 508))


def test_an_unknown_name_is_refused_with_that_name():
    with pytest.raises(ModelError, match="rsi_41"):
        compute(COLUMNS, ("rsi_41",))
    with pytest.raises(ModelError, match="each once"):
        schema_hash(("ret_1", "ret_1"))
    with pytest.raises(ModelError, match="at least one"):
        schema_hash(())


def test_ticks_are_told_by_the_bar_they_fall_into():
    start = int(COLUMNS.ts_open_ns[0])
    columns = COLUMNS.rows(0, 3)
    minutes = np.array([-1, 0, 15, 45, 59, 70, 180]) * 60 * NS_PER_S + start
    bid = np.array([99, 100, 110, 110, 105, 200, 300]) * 1000
    ask = bid + np.array([10, 10, 10, 20, 20, 10, 10])
    told = tick_bars(TickSeries(symbol="X", ts_ns=minutes, bid_e5=bid, ask_e5=ask), columns)
    mid = np.log((bid + ask) / 2e5)
    assert told.quotes[:2].tolist() == [4, 1]
    assert np.isnan(told.quotes[2])
    assert told.flow[:2].tolist() == [2 + 1 - 2, 0]  # both up; the ask up; both down
    assert told.moves[:2].tolist() == [5, 0]
    assert told.variance[0] == pytest.approx((np.diff(mid[1:5]) ** 2).sum())
    assert told.mid_mean[0] == pytest.approx((mid[1:5] * [15, 30, 14, 1]).sum() / 60)
    assert told.mid_close[:2] == pytest.approx(mid[[4, 5]])
    assert told.silence[:2] == pytest.approx([0.5, 50 / 60])
    assert told.spread_mean_bp[1] == pytest.approx(1e4 * 10 / 200_005)
    assert all(np.isnan(getattr(told, name)[2]) for name in ("flow", "mid_mean", "mid_close", "silence"))


def test_ticks_out_of_order_or_without_a_price_are_refused():
    at = COLUMNS.ts_open_ns[:2]
    good = np.array([5, 5])
    with pytest.raises(DataError, match="ticks of X: out of order"):
        tick_bars(TickSeries(symbol="X", ts_ns=at[::-1], bid_e5=good, ask_e5=good), COLUMNS)
    with pytest.raises(DataError, match="not positive"):
        tick_bars(TickSeries(symbol="X", ts_ns=at, bid_e5=good, ask_e5=good * 0), COLUMNS)


def test_no_ticks_and_no_bars_are_told_as_nothing():
    none = TickSeries(
        symbol="X", ts_ns=np.empty(0, np.int64), bid_e5=np.empty(0, np.int64), ask_e5=np.empty(0, np.int64)
    )
    assert np.isnan(tick_bars(none, COLUMNS).quotes).all()
    assert len(tick_bars(made_up().ticks, COLUMNS.rows(0, 0)).quotes) == 0


def test_other_pairs_enter_at_equal_times_and_a_missing_bar_is_no_move():
    other = from_series(made_up_bars(900, 5, symbol="GBPUSD"))
    holes = replace(
        other,
        **{
            name: np.delete(getattr(other, name), 500)
            for name in ("ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5", "spread_e5", "quotes")
        },
    )
    step = align("EURUSD", COLUMNS, {"GBPUSD": holes}).returns["GBPUSD"]
    plain = np.diff(np.log(other.close_e5))
    assert np.isnan(step[0])
    assert step[500:502].tolist() == [0.0, 0.0]
    assert np.delete(step, [0, 500, 501]) == pytest.approx(np.delete(plain, [499, 500]))
    with pytest.raises(DataError, match="give equal ones"):
        align("EURUSD", COLUMNS, {"GBPUSD": replace(other, period_ns=1)})


def test_a_basket_rises_with_its_currency_and_leaves_the_pair_itself_and_metals_out():
    bars = {name: from_series(made_up_bars(900, seed, symbol=name)) for seed, name in enumerate(
        ("GBPUSD", "USDJPY", "EURGBP", "XAUUSD", "EURUSD"))}  # fmt: skip
    inputs = Inputs(columns=COLUMNS, panel=align("EURUSD", COLUMNS, bars))
    r = {name: np.diff(np.log(one.close_e5)) for name, one in bars.items()}
    basket = (r["USDJPY"] - r["GBPUSD"]) / 2
    weights = 0.94 ** np.arange(127, -1, -1.0)
    sigma = math.sqrt((weights * basket[-128:] ** 2).sum() / weights.sum())
    assert column("dollar_strength_4", inputs)[-1] == pytest.approx(basket[-4:].sum() / (2 * sigma))
    euro = r["EURGBP"]
    own = np.diff(np.log(COLUMNS.close_e5))
    expected = (euro[-1] - basket[-1] - own[-1]) / volatility(COLUMNS)[-1]
    assert column("behind_baskets", inputs)[-1] == pytest.approx(expected)
    with pytest.raises(DataError, match="no other pair of EUR"):
        column("euro_strength_1", Inputs(columns=COLUMNS, panel=align("EURUSD", COLUMNS, {"GBPUSD": bars["GBPUSD"]})))


def test_who_moves_first_is_told_by_the_sign_of_lead():
    random = np.random.default_rng(8)
    news = random.standard_normal(900) * 1e-3
    follows = np.r_[0.0, news[:-1]] + 2e-4 * random.standard_normal(900)

    def market(returns):
        return replace(COLUMNS, close_e5=np.round(1.1e7 * np.exp(np.cumsum(returns))).astype(np.int64))

    for sign in (1, -1):  # the dollar rises where USDJPY does, and EURUSD with it or against it
        leader, follower = market(news), market(sign * follows)
        behind = column("dollar_lead_64", Inputs(columns=follower, panel=align("EURUSD", follower, {"USDJPY": leader})))
        ahead = column("dollar_lead_64", Inputs(columns=leader, panel=align("EURUSD", leader, {"USDJPY": follower})))
        assert behind[200:].min() > 0.3
        assert ahead[200:].max() < -0.3

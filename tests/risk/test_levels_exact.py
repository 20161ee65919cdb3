"""Protective levels by hand: filled at, beyond or better, reached in vain, and set off by the spread alone."""

import pytest

from risk.adherence.levels import LevelHit
from risk.adherence.records import Distribution
from risk.adherence.rolled import LevelAccuracy
from risk.adherence.rollup import roll_up
from tests.harness.desk import (
    BUY,
    HOUR,
    OTHER,
    RIDGE,
    SELL,
    S,
    T,
    day,
    deal,
    intent,
    levels,
    numbered,
    order,
    quote,
    run,
    snapshot,
)
from tests.harness.desk import held as before


def rolled(messages):
    return roll_up([numbered(messages)])


def once(value):
    value = float(value)
    return Distribution(n=1, mean=value, least=value, p05=value, p25=value, median=value, p75=value, p95=value,
                        p99=value, largest=value, below=int(value < 0), zero=int(value == 0),
                        above=int(value > 0))  # fmt: skip


def long_held(*, stop=109_900, target=110_200):
    return [run(), snapshot(), quote(1), order("c1", 3),
            deal("d1", 10, BUY, 1_000_000, 110_010, order="c1", left=1_000_000), levels(20, stop, target)]  # fmt: skip


def short_held():
    return [run(), snapshot(), quote(1), order("c1", 3, SELL),
            deal("d1", 10, SELL, 1_000_000, 110_000, order="c1", left=1_000_000),
            levels(20, 110_100, 109_800)]  # fmt: skip


def ended(at, side, price, cause="stop_loss", level=0, *, bid=None, ask=None, order="", left=0, volume=1_000_000):
    return deal(f"x{at}", at, side, volume, price, closing=True, bid=bid, ask=ask, cause=cause, level_e5=level,
                order=order, left=left)  # fmt: skip


@pytest.mark.parametrize(
    ("held", "end", "accuracy"),
    [
        (long_held, ended(S, SELL, 109_900, level=109_900), (1, 0, 0, 1)),
        (long_held, ended(S, SELL, 109_896, level=109_900), (0, 1, 0, 1)),
        (long_held, ended(S, SELL, 109_895, level=109_900), (0, 1, 0, 0)),
        (long_held, ended(S, SELL, 109_901, level=109_900), (0, 0, 1, 1)),
        (long_held, ended(S, SELL, 110_201, "take_profit", 110_200), (0, 0, 1, 0)),
        (long_held, ended(S, SELL, 110_199, "take_profit", 110_200), (0, 1, 0, 0)),
        (long_held, ended(S, SELL, 110_190, "take_profit", 110_200, ask=110_195), (0, 1, 0, 1)),
        (short_held, ended(S, BUY, 110_100, level=110_100), (1, 0, 0, 1)),
        (long_held, ended(S, SELL, 109_896, level=109_900, ask=109_905), (0, 1, 0, 1)),
        (long_held, ended(S, SELL, 109_896, level=109_900, ask=109_904), (0, 1, 0, 0)),
        (short_held, ended(S, BUY, 110_110, level=110_100), (0, 1, 0, 0)),
        (short_held, ended(S, BUY, 110_104, level=110_100), (0, 1, 0, 1)),
        (short_held, ended(S, BUY, 110_105, level=110_100), (0, 1, 0, 0)),
        (short_held, ended(S, BUY, 109_800, "take_profit", 109_800), (1, 0, 0, 0)),
        (short_held, ended(S, BUY, 109_790, "take_profit", 109_800), (0, 0, 1, 0)),
        (short_held, ended(S, BUY, 110_110, "trailing_stop", 110_100), (0, 1, 0, 0)),
        (short_held, ended(S, BUY, 110_110, "stop_out", 110_100), (0, 1, 0, 0)),
    ],
)
def test_a_level_is_filled_at_beyond_or_better_and_false_where_the_mid_price_did_not_reach_it(held, end, accuracy):
    (row,) = rolled([*held(), end]).total.levels
    at, beyond, better, false = accuracy

    assert (row.at, row.beyond, row.better, row.false_triggers) == (at, beyond, better, false)
    assert (row.cause, row.n, row.missed) == (end.cause, 1, 0)
    held_side = -end.side
    assert row.beyond_e5.mean == (end.price_e5 - end.level_e5) * held_side
    assert row.late_ns == once(0)


def test_levels_are_told_by_cause_in_a_fixed_order():
    parts = [ended(1, SELL, 109_900, "stop_out", 109_900, left=900_000, volume=100_000),
             ended(2, SELL, 110_200, "take_profit", 110_200, left=800_000, volume=100_000),
             ended(3, SELL, 109_900, "trailing_stop", 109_900, left=700_000, volume=100_000),
             ended(4, SELL, 109_890, "stop_loss", 109_900, left=600_000, volume=100_000),
             ended(5, SELL, 109_900, "stop_loss", 0, left=500_000, volume=100_000)]  # fmt: skip
    result = rolled([*long_held(), *parts])

    assert [row.cause for row in result.total.levels] == ["stop_loss", "trailing_stop", "take_profit", "stop_out"]
    assert result.total.levels[0] == LevelAccuracy(
        cause="stop_loss", n=1, at=0, beyond=1, better=0, missed=0, false_triggers=0, beyond_e5=once(-10),
        late_ns=once(0),
    )  # fmt: skip
    assert [hit.volume_e2 for hit in result.hits] == [100_000] * 4
    assert [each.leg for each in result.executions if not each.client_order_id] == [
        "stop_out", "take_profit", "trailing_stop", "stop_loss",
    ]  # fmt: skip


def test_every_field_of_an_executed_level_is_told():
    assert rolled(day()).hits == (
        LevelHit(position_id="P2", symbol="USDJPY", strategy="s2", model_id=OTHER, volume_e2=2_000_000,
                 ts_ns=T + 12 * HOUR + 5 * S, cause="stop_loss", level_e5=10_930_000, price_e5=10_932_000, side=1,
                 beyond_e5=-2_000, delay_e5=-1_600, spread_e5=1_000, slippage=-366, late_ns=3 * S,
                 false_trigger=False, missed=False),
    )  # fmt: skip


# --- reached in vain -----------------------------------------------------------------------------------------------


def missed(cause, level, price, at, late, *, beyond, side=-1, false=False, **whose):
    values = {"strategy": "s1", "model_id": "", "position_id": "P1", "symbol": "EURUSD"} | whose
    return LevelHit(volume_e2=1_000_000, ts_ns=T + at, cause=cause, level_e5=level, price_e5=price, side=side,
                    beyond_e5=beyond, delay_e5=0, spread_e5=0, slippage=0, late_ns=late, false_trigger=false,
                    missed=True, **values)  # fmt: skip


def test_a_level_that_prices_reached_more_than_ten_seconds_ago_was_missed():
    def hits(held, *quotes):
        return rolled([*held, *quotes]).hits

    long_told = long_held()
    long_told[3:3] = [intent("i-c1", 2)]
    assert hits(long_told, quote(S, 109_900, 109_910), quote(11 * S, 109_950, 109_960)) == ()
    assert hits(long_told, quote(S, 109_900, 109_910), quote(11 * S + 1, 109_950, 109_960)) == (
        missed("stop_loss", 109_900, 109_950, S, 10 * S + 1, beyond=50, false=True, model_id=RIDGE),
    )
    assert hits(long_held(), quote(S, 109_901, 109_911), quote(12 * S, 109_950, 109_960)) == ()
    assert hits(long_held(), quote(S, 110_199, 110_209), quote(12 * S, 110_000, 110_010)) == ()
    assert hits(long_held(), quote(S, 110_200, 110_210), quote(12 * S, 110_000, 110_010)) == (
        missed("take_profit", 110_200, 110_000, S, 11 * S, beyond=-200),
    )
    assert hits(short_held(), quote(S, 110_090, 110_100), quote(12 * S, 110_000, 110_020)) == (
        missed("stop_loss", 110_100, 110_020, S, 11 * S, beyond=80, side=1, false=True),
    )
    assert hits(short_held(), quote(S, 109_790, 109_800), quote(12 * S, 110_000, 110_020)) == (
        missed("take_profit", 109_800, 110_020, S, 11 * S, beyond=-220, side=1),
    )
    assert hits(short_held(), quote(S, 110_089, 110_099), quote(12 * S, 110_000, 110_020)) == ()


def test_the_mid_price_may_reach_a_level_later_than_the_side_that_closes():
    def false(*mids):
        quotes = [quote((at + 1) * S, mid - 20, mid + 20) for at, mid in enumerate(mids)]
        (hit,) = rolled([*long_held(), *quotes, quote(20 * S, 110_000, 110_010)]).hits
        return (hit.false_trigger, hit.ts_ns - T, hit.late_ns)

    assert false(109_915) == (True, S, 19 * S)
    assert false(109_915, 109_901, 109_950) == (True, S, 19 * S)
    assert false(109_915, 109_900, 109_950) == (False, S, 19 * S)
    odd = [quote(S, 109_896, 109_905), quote(20 * S, 110_000, 110_010)]
    assert [hit.false_trigger for hit in rolled([*long_held(), *odd]).hits] == [True]
    assert false(109_950, 109_899) == (False, 2 * S, 18 * S)


def test_a_level_that_is_moved_has_not_been_reached_and_one_that_is_confirmed_has():
    touched = [*long_held(), quote(S, 109_900, 109_910)]

    def reached(*more):
        return [(hit.level_e5, hit.ts_ns - T) for hit in rolled([*touched, *more]).hits]

    assert reached(levels(2 * S, 109_900, 110_300), quote(20 * S)) == [(109_900, S)]
    assert reached(levels(2 * S, 109_800, 110_200), quote(20 * S)) == []
    assert reached(levels(2 * S, 110_020, 110_200), quote(3 * S), quote(20 * S)) == [(110_020, 3 * S)]
    assert reached(levels(2 * S, 0, 110_200), quote(3 * S, 100, 110), quote(20 * S)) == []
    both = [*long_held(), quote(S, 110_200, 110_210), quote(2 * S, 109_000, 109_010), quote(20 * S)]
    assert [(hit.cause, hit.ts_ns - T) for hit in rolled(both).hits] == [("stop_loss", 2 * S), ("take_profit", S)]


def test_what_ends_a_trade_leaves_the_other_levels_that_prices_had_reached_missed():
    touched = [*long_held(), quote(S, 109_890, 109_900)]

    assert rolled([*touched, ended(11 * S, SELL, 109_850, "order", order="x1")]).hits == ()
    assert rolled([*touched, ended(11 * S + 1, SELL, 109_850, "order", order="x1")]).hits == (
        missed("stop_loss", 109_900, 109_850, S, 10 * S + 1, beyond=-50),
    )
    part = ended(12 * S, SELL, 109_850, "order", order="x1", left=400_000, volume=600_000)
    assert [hit.ts_ns - T for hit in rolled([*touched, part]).hits] == [S], "the rest of it still has no stop"
    # Its own stop is executed late, and not missed; the target that was reached before is.
    stopped = rolled([*touched, ended(30 * S, SELL, 109_880, level=109_900)]).hits
    assert [(hit.missed, hit.late_ns, hit.false_trigger) for hit in stopped] == [(False, 29 * S, False)]
    target = [*long_held(), quote(S, 110_200, 110_210), ended(30 * S, SELL, 109_880, level=109_900)]
    assert [(hit.cause, hit.missed, hit.late_ns) for hit in rolled(target).hits] == [
        ("stop_loss", False, 0), ("take_profit", True, 29 * S),
    ]  # fmt: skip
    trailing = rolled([*touched, ended(30 * S, SELL, 109_880, "trailing_stop", 109_900)]).hits
    assert [(hit.cause, hit.missed, hit.late_ns) for hit in trailing] == [("trailing_stop", False, 29 * S)]
    taken = [*long_held(), quote(S, 110_200, 110_210), ended(30 * S, SELL, 110_200, "take_profit", 110_200)]
    assert [(hit.cause, hit.missed, hit.late_ns) for hit in rolled(taken).hits] == [("take_profit", False, 29 * S)]
    early = [*long_held(), quote(3 * S, 109_890, 109_900), ended(2 * S, SELL, 109_900, level=109_900)]
    assert [hit.late_ns for hit in rolled(early).hits] == [0], "the venue's clock is behind ours"
    (row,) = rolled([*touched, quote(20 * S)]).total.levels
    assert (row.n, row.missed, row.at, row.beyond, row.better, row.false_triggers) == (1, 1, 0, 0, 0, 0)
    assert (row.beyond_e5, row.late_ns) == (Distribution(), once(19 * S))


def test_a_level_of_a_position_from_before_is_nobodys():
    stranger = [run(), snapshot(0, positions=(before(stop=109_900),)), quote(1), quote(S, 109_890, 109_900)]
    (hit,) = rolled([*stranger, quote(20 * S)]).hits

    assert (hit.strategy, hit.model_id, hit.position_id, hit.volume_e2) == ("", "", "P1", 1_000_000)


def test_prices_of_another_symbol_reach_nothing():
    assert rolled([*long_held(), quote(S, 100, 110, "USDJPY"), quote(20 * S)]).hits == ()

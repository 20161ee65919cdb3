import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.values import Side
from strategies.interval import Interval, IntervalParams
from tests.harness.views import StaticView, bar, forecast, held

INTERVAL = Interval(IntervalParams())
# Bid 120000, ask 120008, cost 12: a long one needs a lower limit above 120020, a short one an upper one below 119980.


def test_it_buys_only_where_the_lower_limit_clears_the_full_cost():
    assert INTERVAL.on_forecast(forecast((120_020, 120_100)), StaticView()) == ()
    (intent,) = INTERVAL.on_forecast(forecast((120_021, 120_100)), StaticView())
    assert (intent.action, intent.side, intent.reference_e5, intent.edge_e5) == ("enter", Side.BUY, 120_008, 1)
    assert (intent.stop_loss_e5, intent.take_profit_e5) == (119_000, 121_500)
    assert (intent.intent_id, intent.horizon, intent.scale_e5, intent.model_id) == ("", 24, 150, "m")


def test_it_sells_only_where_the_upper_limit_of_the_ask_clears_the_full_cost():
    assert INTERVAL.on_forecast(forecast((119_900, 119_980)), StaticView()) == ()
    (intent,) = INTERVAL.on_forecast(forecast((119_900, 119_979)), StaticView())
    assert (intent.side, intent.reference_e5, intent.edge_e5) == (Side.SELL, 120_000, 1)
    # A short position's levels are met by the ask, so both carry the spread.
    assert (intent.stop_loss_e5, intent.take_profit_e5) == (121_508, 119_008)


def test_a_wider_spread_or_cost_asks_for_more():
    clears = forecast((120_021, 120_100))
    assert INTERVAL.on_forecast(clears, StaticView(spread=9)) == ()
    assert INTERVAL.on_forecast(clears, StaticView(cost=13)) == ()


def test_stop_and_target_keep_their_minimum_distances():
    (intent,) = INTERVAL.on_forecast(forecast((120_050, 120_060), wide=(119_990, 120_020)), StaticView())
    assert (intent.stop_loss_e5, intent.take_profit_e5) == (119_950, 120_038)
    (intent,) = INTERVAL.on_forecast(forecast((119_900, 119_910), wide=(119_980, 120_010)), StaticView())
    assert (intent.stop_loss_e5, intent.take_profit_e5) == (120_058, 119_970)


def test_an_opposite_signal_closes_and_does_not_turn_round_in_one_call():
    view = StaticView(positions=[held(Side.SELL)])
    (intent,) = INTERVAL.on_forecast(forecast((120_030, 120_100)), view)
    assert (intent.action, intent.position_id, intent.side, intent.reference_e5) == ("exit", "P1", Side.BUY, 120_008)


def test_it_holds_no_more_than_its_maximum_and_waits_for_answers():
    clears = forecast((120_030, 120_100))
    assert INTERVAL.on_forecast(clears, StaticView(positions=[held()])) == ()
    assert INTERVAL.on_forecast(clears, StaticView(pending=True)) == ()
    two = Interval(IntervalParams(max_positions=2))
    assert len(two.on_forecast(clears, StaticView(positions=[held()]))) == 1


@pytest.mark.parametrize(("bars", "horizon", "leaves"), [(23, 0, 0), (24, 0, 1), (4, 4, 1), (24, 30, 0)])
def test_it_leaves_when_the_horizon_is_over(bars, horizon, leaves):
    view = StaticView(positions=[held(bars=bars, horizon=horizon)])
    intents = INTERVAL.on_bar(bar(), view)
    assert [i.reason for i in intents] == ["expired"] * leaves
    view.pending = True
    assert INTERVAL.on_bar(bar(), view) == ()


def test_an_unbounded_interval_and_a_foreign_horizon_are_no_signal():
    assert INTERVAL.on_forecast(forecast((120_030, 120_100), bounded=False), StaticView()) == ()
    assert INTERVAL.on_forecast(forecast((120_030, 120_100), horizon=4), StaticView()) == ()


def test_the_nearest_level_decides_where_its_own_is_missing():
    assert INTERVAL.on_forecast(forecast((120_030, 120_100), level_ppm=300_000), StaticView())
    wide = Interval(IntervalParams(level_ppm=900_000))
    assert wide.on_forecast(forecast((120_030, 120_100)), StaticView()) == ()


@settings(max_examples=150, deadline=None)
@given(st.integers(118_000, 122_000), st.integers(0, 400), st.integers(0, 3_000), st.integers(0, 60),
       st.lists(st.sampled_from(Side), max_size=3), st.booleans())  # fmt: skip
def test_one_answer_never_enters_and_leaves_and_its_levels_enclose_the_market(low, width, beyond, spread, sides, wait):
    view = StaticView(spread=spread, positions=[held(s, name=f"P{n}") for n, s in enumerate(sides)], pending=wait)
    told = forecast((low, low + width), wide=(low - beyond, low + width + beyond))
    intents = INTERVAL.on_forecast(told, view)
    assert intents == INTERVAL.on_forecast(told, view)
    assert len({i.action for i in intents}) <= 1
    assert len({i.position_id for i in intents}) == len(intents)
    assert not (wait and intents)
    for i in intents:
        if i.action == "enter":
            assert not sides
            below, above = sorted((i.stop_loss_e5, i.take_profit_e5))
            assert below < view.last.bid_e5 <= view.last.ask_e5 < above
            assert (i.side is Side.BUY) == (i.stop_loss_e5 == below)

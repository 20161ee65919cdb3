"""Whole orders and whole refusals of the gate."""

import msgspec
import pytest

from bus.messages import HaltLevel, IntentRefused, SubmitOrder
from bus.values import OrderType, Side, TimeInForce
from risk.drift import DriftState
from risk.evidence import Drifted, ModelStanding
from risk.gate import review
from risk.limits import look
from risk.policies.models import ModelLimits
from risk.sizing import SizingSettings
from tests.harness.books import (
    NOW_NS,
    begun,
    entry,
    leave,
    opened,
    order,
    quote,
    switched_off,
)

replace = msgspec.structs.replace
OFF = switched_off()
FIXED = SizingSettings(method="fixed", fixed_lots_e2=10)


def ask(intent, book=None, policy=OFF, sizing=FIXED, now_ns=NOW_NS + 1, **more):
    return review(intent, book or begun(), policy, sizing, now_ns, client_order_id="c-7", **more)


def refused(intent, rule, limit, value, would_pass):
    return IntentRefused(intent_id=intent.intent_id, strategy=intent.strategy, symbol=intent.symbol, rule=rule,
                         limit=limit, value=value, would_pass=would_pass, ts_init_ns=NOW_NS + 1)  # fmt: skip


# --- entries ---------------------------------------------------------------------------------------------------

WANTED = entry(intent_id="i-3", strategy="t", reason="wide", trailing_e5=45, valid_until_ns=NOW_NS + 99)
BOUGHT = SubmitOrder(
    client_order_id="c-7", intent_id="i-3", strategy="t", symbol="EURUSD", side=Side.BUY,
    order_type=OrderType.MARKET, volume_e2=1_000_000, reference_e5=120_008, ts_init_ns=NOW_NS + 1,
    time_in_force=TimeInForce.IOC, limit_e5=0, trigger_e5=0, expires_ns=0, stop_loss_e5=119_708,
    take_profit_e5=120_308, trailing_e5=45, position_id="", reason="wide", expected_profit=100,
)  # fmt: skip


def test_an_entry_at_the_market_becomes_an_order_to_the_last_field():
    assert ask(WANTED) == BOUGHT
    sold = ask(entry(Side.SELL, "USDJPY", intent_id="i-3", strategy="t"))
    assert (sold.side, sold.symbol, sold.reference_e5) == (Side.SELL, "USDJPY", 10_900_000)
    assert (sold.stop_loss_e5, sold.take_profit_e5, sold.reason) == (10_900_300, 10_899_700, "")
    assert sold.expected_profit == 1  # 10 000 x 0.0001 yen


@pytest.mark.parametrize(
    ("kind", "price_e5", "limit_e5", "trigger_e5"),
    [(OrderType.LIMIT, 119_950, 119_950, 0), (OrderType.STOP, 120_050, 0, 120_050)],
)
@pytest.mark.parametrize(("until_ns", "force"), [(0, TimeInForce.GTC), (NOW_NS + 99, TimeInForce.GTD)])
def test_an_entry_that_rests_carries_its_price_and_its_end(kind, price_e5, limit_e5, trigger_e5, until_ns, force):
    asked = replace(WANTED, order_type=kind, price_e5=price_e5, valid_until_ns=until_ns)
    assert ask(asked) == replace(BOUGHT, order_type=kind, limit_e5=limit_e5, trigger_e5=trigger_e5,
                                 time_in_force=force, expires_ns=until_ns)  # fmt: skip


def test_an_edge_is_expected_in_money_and_may_be_none_or_a_loss():
    assert ask(replace(WANTED, edge_e5=0)).expected_profit == 0
    assert ask(replace(WANTED, edge_e5=-25)).expected_profit == -250


def test_a_limit_that_is_broken_is_told_whole():
    tight = switched_off(max_spread_pips_e1=7)
    assert ask(WANTED, policy=tight) == refused(WANTED, "spread", "0.7 pips", "0.8 pips", "0.7 pips or less")
    strange = replace(WANTED, symbol="AUDNZD")
    assert ask(strange) == refused(strange, "symbol", "a configured symbol", "'AUDNZD'",
                                   "one of EURUSD, USDJPY, EURGBP, GBPUSD")  # fmt: skip
    odd = replace(strange, price_e5=-1)  # numbers come first
    assert ask(odd) == refused(odd, "number", "0 to 20000000000000", "price_e5 = -1", "a whole number within the limit")
    assert ask(WANTED, halt_level=HaltLevel.NO_NEW_RISK).rule == "halt"
    assert ask(WANTED, link_up=False).rule == "connection"
    assert ask(WANTED, size_multiplier_ppm=1_000_001).rule == "number"
    late = ModelStanding(model_id="m", horizon=1, expires_ns=NOW_NS)
    assert ask(WANTED, model=late).rule == "forecast_expired"


@pytest.mark.parametrize(
    ("intent", "sizing", "volume_e2"),
    [
        # 1 % of 10 000.00 is 100.00; at 300 points that is 33 333 units.
        (entry(), SizingSettings(risk_pct_e2=100, max_pct_equity=1_000), 3_300_000),
        (entry(Side.SELL), SizingSettings(risk_pct_e2=100, max_pct_equity=1_000), 3_300_000),
        # A resting entry loses from its own price on: 250 points, 40 000 units.
        (entry(order_type=OrderType.LIMIT, price_e5=119_958), SizingSettings(risk_pct_e2=100, max_pct_equity=1_000),
         4_000_000),
        # 109.00004 yen a dollar: 300 points are 0.003 yen, so 100.00 dollars are far beyond ten times the equity.
        (entry(symbol="USDJPY"), SizingSettings(risk_pct_e2=100, max_pct_equity=100), 900_000),
        # 1.36004 dollars a pound: 100.00 dollars at 300 points of 1.36004.
        (entry(symbol="EURGBP"), SizingSettings(risk_pct_e2=100, max_pct_equity=1_000), 2_400_000),
    ],
)  # fmt: skip
def test_an_entry_is_sized_at_the_price_at_which_it_would_open(intent, sizing, volume_e2):
    assert ask(intent, sizing=sizing).volume_e2 == volume_e2


def test_a_size_falls_with_the_model_with_what_else_was_measured_and_to_the_largest_allowed():
    warns = Drifted(kind="data", what="returns", state=DriftState.WARN, value_pct_e2=1, limit_pct_e2=1, n=1)
    model = ModelStanding(model_id="m", horizon=1, drifted=(warns,))
    halved = switched_off(models=ModelLimits(drift_pct=50))
    assert ask(WANTED, policy=halved, model=model).volume_e2 == 500_000
    assert ask(WANTED, policy=halved, model=model, size_multiplier_ppm=400_000).volume_e2 == 200_000
    assert ask(WANTED, size_multiplier_ppm=400_000).volume_e2 == 400_000
    for largest, volume_e2 in ((0, 1_000_000), (1_000_000, 1_000_000), (999_999, 900_000), (300_000, 300_000),
                               (2_000_000, 1_000_000), (100_000, 100_000)):  # fmt: skip
        assert ask(WANTED, largest_e2=largest).volume_e2 == volume_e2
    assert ask(WANTED, largest_e2=99_999).value == "0: the sized volume is below the smallest order"
    assert ask(WANTED, largest_e2=1).rule == "order_volume"


def test_what_nothing_values_has_no_size():
    book = begun(quoted=False)
    book.mark(quote("EURGBP"))
    asked = entry(symbol="EURGBP")
    seen = look(asked, book, OFF, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
    assert (seen.values, seen.legs) == (None, ())
    assert ask(asked, book).rule == "conversion_rate"
    unquoted = begun(quoted=False)
    assert ask(entry(), unquoted).value == "no quote"


# --- exits -----------------------------------------------------------------------------------------------------


def test_an_exit_closes_all_that_the_position_holds():
    book = begun()
    opened(book, "c1", "P1", Side.SELL, 300_000, symbol="USDJPY")
    asked = leave("P1", Side.BUY, "USDJPY", intent_id="i-9", reason="enough", stop_loss_e5=5, valid_until_ns=9)
    assert ask(asked, book, halt_level=HaltLevel.FLATTEN) == SubmitOrder(
        client_order_id="c-7", intent_id="i-9", strategy="s", symbol="USDJPY", side=Side.BUY,
        order_type=OrderType.MARKET, volume_e2=300_000, reference_e5=10_900_000, ts_init_ns=NOW_NS + 1,
        position_id="P1", reason="enough",
    )  # fmt: skip


def test_an_exit_that_makes_no_sense_is_told_whole():
    book = begun()
    opened(book)

    def told(asked, *row, **more):
        assert ask(asked, book, **more) == refused(asked, *row)

    told(leave("P7"), "position", "an open position in EURUSD", "'P7'", "its id")
    told(leave("P1", symbol="USDJPY"), "position", "an open position in USDJPY", "'P1'", "its id")
    told(leave("P1", strategy="t"), "position_owner", "s", "t", "the strategy that opened it")
    told(leave("P1", Side.BUY), "position_side", "SELL", "BUY", "the other side")
    told(leave("P1"), "connection", "a ready connection", "none", "the same intent once the venue is reached again",
         link_up=False)  # fmt: skip
    book.sent(order("x", Side.SELL, position="P1"), NOW_NS)
    told(leave("P1"), "already_closing", "1 closing order at work", "2", "the answer to the first")

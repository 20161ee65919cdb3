"""Limits on orders, losses and models at their last allowed figure and one step beyond: what is said, word for word."""

import msgspec
import pytest

from bus.messages import HaltLevel
from bus.values import NS_PER_S, Side
from risk.coverage import CoverageState
from risk.drift import DriftState
from risk.evidence import Drifted, ModelStanding
from risk.limits import (
    Breach,
    look,
    losses,
    models,
    orders,
)
from risk.policies.models import ModelLimits
from risk.policies.orders import Orders
from risk.policies.scopes import StrategyLimits, SymbolLimits
from risk.policies.streaks import Streaks
from risk.watermarks import Floor
from tests.harness.books import NOW_NS, begun, entry, opened, quote
from tests.harness.books import switched_off as limits
from tests.harness.checks import check, in_scope

replace = msgspec.structs.replace


# --- orders ----------------------------------------------------------------------------------------------------


def test_a_stop_of_one_point_is_one_and_none_is_none():
    wanted = Breach("missing_stop", "a stop", "none", "a stop on the losing side of the entry")
    assert orders.missing_stop(check(intent={"stop_loss_e5": 0})) == wanted
    assert orders.missing_stop(check(intent={"stop_loss_e5": 1})) is None


@pytest.mark.parametrize(
    ("side", "losing", "winning", "away"), [(Side.BUY, "below", "above", 1), (Side.SELL, "above", "below", -1)]
)
def test_a_stop_lies_beyond_where_the_position_could_close_and_a_target_on_the_other_side(side, losing, winning, away):
    def placed(stop, target=0):
        fields = {"side": side, "stop_loss_e5": stop, "take_profit_e5": target}
        return orders.stop_side(check(intent=fields, closing_e5=120_000))

    assert placed(120_000 - away) is None
    assert placed(120_000) == Breach("stop_side", f"{losing} 120000", "120000", f"a stop {losing} it")
    wrong = 120_000 + away
    assert placed(wrong) == Breach("stop_side", f"{losing} 120000", str(wrong), f"a stop {losing} it")
    assert placed(120_000 - away, wrong) is None
    told = placed(120_000 - away, 120_000)
    assert told == Breach("stop_side", f"{winning} 120000", "120000", f"a target {winning} it")


@pytest.mark.parametrize("side", Side)
def test_a_stop_may_lie_as_far_away_as_the_limit_says(side):
    def far(limit_e2, distance_e5, price_e5=120_000):
        fields = {"side": side, "stop_loss_e5": price_e5 - side * distance_e5}
        return orders.stop_distance(check(policy=limits(max_stop_distance_pct_e2=limit_e2), intent=fields,
                                          price_e5=price_e5))  # fmt: skip

    assert far(25, 300) is None  # 0.25 %
    assert far(25, 301) == Breach("stop_distance", "0.25 % of the price", "0.25 %", "0.25 % or less")
    assert far(1, 1_200) == Breach("stop_distance", "0.01 % of the price", "1.00 %", "0.01 % or less")
    assert far(0, 60_000) is None
    assert far(2_500, 30_001) == Breach("stop_distance", "25.00 % of the price", "25.00 %", "25.00 % or less")


@pytest.mark.parametrize(
    ("ask", "field", "key", "group", "name"),
    [(orders.order_rate, "orders", "max_orders_per_minute", "", "order_rate"),
     (orders.cancel_rate, "cancels", "max_cancels_per_minute", "orders", "cancel_rate")],
)  # fmt: skip
def test_a_rate_refuses_from_its_limit_on_and_says_whose_it_is(ask, field, key, group, name):
    account, own = in_scope(**{field: 3})

    def told(limit):
        of_account = {key: limit} if not group else {group: Orders(**{key: limit})}
        return ask(check(policy=limits(**of_account), account=account))

    assert told(4) is None
    assert told(0) is None
    wanted = Breach(name, "3 a minute", "3 in the last minute", "fewer than 3 in the minute before")
    assert told(3) == wanted
    assert told(1) == Breach(name, "1 a minute", "3 in the last minute", "fewer than 1 in the minute before")
    scope = {"s": StrategyLimits(**{key: 3})}
    off = limits(strategies=scope, **({group: Orders(**{key: 0})} if group else {key: 0}))
    assert ask(check(policy=off, account=account, own=own)) == replace(wanted, limit="3 a minute in s")
    roomy = limits(strategies=scope, **({group: Orders(**{key: 4})} if group else {key: 4}))
    assert ask(check(policy=roomy, account=account, own=own)) == replace(wanted, limit="3 a minute in s")
    of_symbol = limits(symbols={"EURUSD": SymbolLimits(**{key: 4})}, strategies=scope)
    here = replace(own, name="EURUSD")
    placed = replace(check(policy=of_symbol, own=own), figures=(account, here, own))
    assert ask(placed) == replace(wanted, limit="3 a minute in s")
    assert ask(replace(placed, figures=(account, replace(here, **{field: 4}), own))) == Breach(
        name, "4 a minute in EURUSD", "4 in the last minute", "fewer than 4 in the minute before")  # fmt: skip


def test_slippage_may_come_close_to_the_budget_of_the_day_and_not_up_to_it():
    def spent(amount, limit_e2=25, own=None):
        account, scope = in_scope(spent=amount)
        strategies = {"s": StrategyLimits(slippage_budget_pct_e2=own)} if own else {}
        policy = limits(orders=Orders(slippage_budget_pct_e2=limit_e2), strategies=strategies)
        return orders.slippage_budget(check(policy=policy, account=account, own=scope, day_start_equity=2_000_000))

    assert spent(4_999) is None
    wanted = Breach("slippage_budget", "0.25 % of 2000000", "5000 spent", "the next trading day")
    assert spent(5_000) == wanted
    assert spent(10**9, limit_e2=0) is None
    assert spent(10**9, limit_e2=1).limit == "0.01 % of 2000000"
    assert spent(10**9, limit_e2=5_000).limit == "50.00 % of 2000000"
    assert spent(5_000, limit_e2=26, own=25) == replace(wanted, limit="0.25 % of 2000000 in s")


# --- losses ----------------------------------------------------------------------------------------------------


def test_one_unit_of_equity_is_some_and_none_is_none():
    assert losses.equity(check(equity=1)) is None
    assert losses.equity(check(equity=0)) == Breach("equity", "above 0", "0", "an account with equity")
    assert losses.equity(check(equity=-7)) == Breach("equity", "above 0", "-7", "an account with equity")


FLOORS = ("daily_loss", "weekly_loss", "trailing_drawdown", "static_drawdown", "day_end_drawdown", "intraday_drawdown")


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_refuses_at_it_and_below_by_the_rule_that_it_belongs_to(name):
    ask = getattr(losses, name)
    floors = tuple(Floor(each, 980_000, 1_000_000, 800_000, 250, f"the mark of {each}") for each in FLOORS)
    assert ask(check(equity=980_001, fallen=())) is None
    told = ask(check(equity=980_000, fallen=floors))
    assert told == Breach(name, "2.50 % of 800000", f"20000 lost, 2.50 % since the mark of {name}",
                          "equity above 980000, or a resume")  # fmt: skip
    assert ask(check(equity=1, fallen=tuple(each for each in floors if each.rule != name))) is None


def test_a_floor_is_fallen_to_at_it_and_not_above_it():
    policy = limits(daily_loss_pct_e2=200, trailing_drawdown_pct_e2=100)

    def fallen(points):
        book = begun()
        opened(book, volume=10_000_000, commission=0)
        book.mark(quote(bid=120_000 - points))
        seen = look(entry(), book, policy, volume_e2=0, now_ns=NOW_NS, halt_level=HaltLevel.NONE)
        return [floor.rule for floor in seen.fallen]

    assert fallen(99) == []
    assert fallen(100) == ["trailing_drawdown"]
    assert fallen(199) == ["trailing_drawdown"]
    assert fallen(200) == ["daily_loss", "trailing_drawdown"]


def test_a_scope_may_lose_less_than_its_part_of_the_day():
    def lost(result, limit_e2=25, start=2_000_000):
        _, own = in_scope(result=result)
        policy = limits(strategies={"s": StrategyLimits(daily_loss_pct_e2=limit_e2)})
        return losses.scope_loss(check(policy=policy, own=own, day_start_equity=start))

    assert lost(-4_999) is None
    assert lost(-5_000) == Breach("scope_loss", "0.25 % of 2000000 in s", "5000 lost", "the next trading day")
    assert lost(5_000) is None
    assert lost(-1, limit_e2=0) is None
    assert lost(-200, limit_e2=1).limit == "0.01 % of 2000000 in s"
    assert lost(-(10**6), limit_e2=5_000).limit == "50.00 % of 2000000 in s"
    assert lost(0, start=0) is None
    assert lost(-1, start=0).value == "1 lost"


def streak(lost, *, most=3, cool_s=600, last_ns=NOW_NS - 60 * NS_PER_S, own=0, **more):
    account, scope = in_scope(losses=lost, last_loss_ns=last_ns)
    strategies = {"s": StrategyLimits(max_consecutive_losses=own)} if own else {}
    policy = limits(streaks=Streaks(max_consecutive_losses=most, cool_down_s=cool_s), strategies=strategies)
    return losses.losing_streak(check(policy=policy, account=account, own=scope, **more))


def test_losses_in_a_row_pause_for_a_time_from_the_last_of_them():
    assert streak(2) is None
    assert streak(9, most=0) is None
    wanted = Breach("losing_streak", "3 losses in a row", "3, the last at 2018-05-01 14:59 UTC",
                    "the same entry from 2018-05-01 15:09 UTC on")  # fmt: skip
    assert streak(3) == wanted
    assert streak(4) == replace(wanted, value="4, the last at 2018-05-01 14:59 UTC")
    assert streak(3, last_ns=NOW_NS - 600 * NS_PER_S + 1) is not None
    assert streak(3, last_ns=NOW_NS - 600 * NS_PER_S) is None
    assert streak(3, most=4, own=3) == replace(wanted, limit="3 losses in a row in s")
    assert streak(3, most=0, own=1, cool_s=1, last_ns=NOW_NS).limit == "1 losses in a row in s"
    assert streak(3, most=3, own=2, last_ns=NOW_NS - 600 * NS_PER_S) is None


def test_losses_in_a_row_pause_until_a_day_that_began_after_the_last_of_them():
    wanted = Breach("losing_streak", "3 losses in a row", "3, the last at 2018-05-01 14:59 UTC",
                    "the next trading day")  # fmt: skip
    last_ns = NOW_NS - 60 * NS_PER_S
    assert streak(3, cool_s=0, day_begin_ns=last_ns) == wanted
    assert streak(3, cool_s=0, day_begin_ns=last_ns + 1) is None


# --- models ----------------------------------------------------------------------------------------------------


def standing_of(**fields):
    return ModelStanding(**({"model_id": "m7", "horizon": 12} | fields))


def test_without_a_model_no_rule_on_models_refuses():
    for rule in models.RULES:
        assert rule.ask(check(model=None)) is None
        assert rule.ask(check(model=standing_of())) is None


def test_a_forecast_holds_to_its_last_moment():
    def ending(expires_ns):
        return models.forecast_expired(check(model=standing_of(expires_ns=expires_ns)))

    def late(value):
        return Breach("forecast_expired", "a forecast in force", value, "a decision on a newer forecast")

    assert ending(NOW_NS) is None
    assert ending(NOW_NS - 1) == late("0.000 s past its end")
    assert ending(NOW_NS - 1_250_000_000) == late("1.250 s past its end")
    assert ending(0) == late("long past")
    assert ending(None) is None


def test_a_silent_model_says_what_it_owes_or_that_it_has_not_made_up_for_it():
    policy = limits(models=ModelLimits(misses=3, answers=5))

    def silent(owed, **more):
        return models.forecasts_missing(check(policy=policy, model=standing_of(owed=owed, **({"silent": True} | more))))

    wanted = Breach("forecasts_missing", "fewer than 3 in a row", "4 owed by m7", "5 in a row in time")
    assert silent(4) == wanted
    value = "fewer than 5 in time since 3 or more were owed by m7"
    assert silent(0) == replace(wanted, value=value)
    assert silent(4, silent=False) is None


def test_intervals_that_do_not_tell_the_truth_say_how_many_they_held():
    blocked = standing_of(coverage=CoverageState.BLOCKED, n=250, covered=190, nominal_ppm=905_000)
    assert models.coverage(check(model=blocked)) == Breach(
        "coverage", "90.5 % covered, or what luck explains", "190 of 250, 12 bars ahead by m7",
        "outcomes that are covered as promised until the gate opens, or another model")  # fmt: skip
    for state in (CoverageState.OK, CoverageState.DEGRADED, CoverageState.UNMEASURED):
        assert models.coverage(check(model=replace(blocked, coverage=state))) is None


def test_a_drift_that_blocks_says_what_drifted_and_from_where_on_it_opens():
    warns = Drifted(kind="data", what="returns", state=DriftState.WARN, value_pct_e2=2_500, limit_pct_e2=2_000, n=400)
    blocks = Drifted(kind="performance", what="the score at 12 bars", state=DriftState.BLOCK, value_pct_e2=3_125,
                     limit_pct_e2=1_550, n=250)  # fmt: skip
    assert models.drift(check(model=standing_of(drifted=(warns,)))) is None
    assert models.drift(check(model=standing_of(drifted=(warns, blocks)))) == Breach(
        "drift", "performance: 31 %", "the score at 12 bars: 31.25 % over 250",
        "20.67 % or less, or a model trained on newer bars")  # fmt: skip


def test_what_is_unusual_and_what_is_to_be_avoided_refuse_where_nothing_is_left_of_size():
    odd = standing_of(unusual="a gap at 12:00", avoided="regime 2 at 71 %")

    def told(ask, **fields):
        return ask(check(policy=limits(models=ModelLimits(**fields)), model=odd))

    wanted = Breach("anomaly", "nothing unusual for 4 bars", "a gap at 12:00", "4 bars without another")
    assert told(models.anomaly, unusual_bars=4, unusual_pct=0) == wanted
    assert told(models.anomaly, unusual_bars=4, unusual_pct=1) is None
    wanted = Breach("regime", "none of 1, 2", "regime 2 at 71 %", "another regime, clearly")
    assert told(models.regime, avoid_regimes=(1, 2), avoided_pct=0) == wanted
    assert told(models.regime, avoid_regimes=(1, 2), avoided_pct=1) is None
    assert told(models.regime, avoid_regimes=(), avoided_pct=0) == replace(wanted, limit="a clear regime")
    plain = check(policy=limits(models=ModelLimits(unusual_pct=0, avoided_pct=0)), model=standing_of())
    assert models.anomaly(plain) is models.regime(plain) is None

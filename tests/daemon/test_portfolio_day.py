"""The limits on the book as a whole, through whole days of the core."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from bus.messages import Bar, HaltLatched, HaltLevel, IntentRefused, LinkChanged, SubmitOrder
from bus.values import NS_PER_HOUR, default_instrument
from daemon.core import Core, CoreSettings, StrategySettings
from daemon.portfolioview import portfolio_view
from daemon.replay import replay
from daemon.snapshot import PortfolioView
from risk.limits.portfolio import RULES
from risk.policies.portfolio import METHODS, PortfolioLimits
from risk.policy import Policy
from risk.portfolio.model import Portfolio
from tests.harness.basket import PAIRS, closes, learnt
from tests.harness.paper import START_NS, Day, exchange, opening, synthetic_quotes

NAMES = {rule.ask.__name__ for rule in RULES}
SYMBOLS = ("EURUSD", "GBPUSD")
BITING = {
    "value_at_risk": {"var_pct_e2": 60},
    "expected_shortfall": {"shortfall_pct_e2": 60},
    "entry_risk": {"entry_var_pct_e2": 60},
    "correlation": {"correlated_pct_equity": 150, "correlated_above_pct": 1},
    "factor": {"factor_pct_e2": 25},
}
OFF = {"var_pct_e2": 0, "shortfall_pct_e2": 0, "entry_var_pct_e2": 0, "correlated_pct_equity": 0, "factor_pct_e2": 0}


def limited(**limits):
    return CoreSettings(
        strategies=(StrategySettings(name="interval"),), risk=Policy(portfolio=PortfolioLimits(**(OFF | limits)))
    )


def quotes(count=700):
    lines = [synthetic_quotes(count, symbol=symbol, seed=n) for n, symbol in enumerate(SYMBOLS)]
    for together in zip(*lines, strict=True):
        yield from together


def day(folder, settings, **more):
    return Day(folder, quotes(), settings=settings, symbols=SYMBOLS, **more).run()


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """The day without any of these limits."""
    return day(tmp_path_factory.mktemp("free") / "journal", limited())


@pytest.mark.parametrize(("name", "limits"), BITING.items())
def test_each_limit_bites_in_a_day_and_the_day_replays_to_the_same_decisions(name, limits, tmp_path, free):
    whole = day(tmp_path / "whole", limited(**limits))
    refused = Counter(each.rule for each in whole.messages(IntentRefused) if each.rule in NAMES)
    assert set(refused) == {name}
    assert whole.decisions != free.decisions
    assert 0 < len(whole.messages(SubmitOrder)) < len(free.messages(SubmitOrder))
    repeated = replay(whole.folder)
    assert repeated.identical, repeated.difference
    assert repeated.decisions_sha256 == whole.decisions


@pytest.mark.parametrize("method", METHODS)
def test_two_days_make_the_same_decisions_by_each_method(method, tmp_path):
    settings = limited(var_pct_e2=60, method=method)
    assert day(tmp_path / "a", settings).decisions == day(tmp_path / "b", settings).decisions


def test_limits_that_are_far_away_change_no_decision(tmp_path, free):
    far = limited(var_pct_e2=100_000, shortfall_pct_e2=100_000, entry_var_pct_e2=100_000, factor_pct_e2=100_000)
    assert day(tmp_path / "far", far).decisions == free.decisions


def test_figures_that_cannot_be_worked_out_risk_nothing_new_and_keep_nothing_from_closing(tmp_path, monkeypatch, free):
    settle, calls = Portfolio.settle, []

    def breaking(portfolio):
        calls.append(None)
        if len(calls) > 200:
            raise ZeroDivisionError("no covariance")
        settle(portfolio)

    monkeypatch.setattr(Portfolio, "settle", breaking)
    broken = day(tmp_path / "broken", limited(var_pct_e2=100_000))
    (halt,) = broken.messages(HaltLatched)
    assert (halt.rule, halt.level) == ("portfolio", HaltLevel.NO_NEW_RISK)
    assert "ZeroDivisionError: no covariance" in halt.reason
    entries = [order.ts_init_ns for order in broken.messages(SubmitOrder) if not order.position_id]
    assert entries
    assert max(entries) <= halt.ts_init_ns
    assert any(order.ts_init_ns > halt.ts_init_ns for order in free.messages(SubmitOrder) if not order.position_id)
    assert any(order.ts_init_ns > halt.ts_init_ns for order in broken.messages(SubmitOrder) if order.position_id)


def core_with(prices, settings, *, told=lambda bars: bars):
    """A core that was told the history of some symbols, in some order."""
    core = Core()
    symbols = tuple(prices)
    messages = [each for each in opening(settings, symbols=symbols) if not isinstance(each, Bar)]
    for seq, message in enumerate([*messages, exchange(symbols=symbols).snapshot(START_NS)], 1):
        core.process(seq, message)
    bars = [
        Bar(symbol=symbol, period_ns=NS_PER_HOUR, ts_open_ns=START_NS - (len(line) - n) * NS_PER_HOUR,
            ts_close_ns=START_NS - (len(line) - n - 1) * NS_PER_HOUR, open_e5=close, high_e5=close, low_e5=close,
            close_e5=close, spread_e5=8, quotes=4)
        for symbol, line in prices.items() for n, close in enumerate(line)
    ]  # fmt: skip
    for seq, bar in enumerate(told(bars), 1_000):
        core.process(seq, bar)
    return core


def test_the_core_learns_from_history_whoever_is_told_first():
    prices = closes(250, SYMBOLS)
    straight = learnt(prices=prices, symbols=SYMBOLS, **(OFF | {"var_pct_e2": 500}))
    for told in (lambda bars: bars, lambda bars: sorted(bars, key=lambda bar: bar.ts_open_ns)):
        core = core_with(prices, limited(var_pct_e2=500), told=told)
        core.portfolio.settle()
        assert core.portfolio.correlations == straight.correlations
        assert core.portfolio.measure([{"EURUSD": 10**6}]) == straight.measure([{"EURUSD": 10**6}])


def test_bars_that_a_lost_connection_missed_are_learnt_from_too():
    prices = closes(250, SYMBOLS)
    core = core_with({s: line[:200] for s, line in prices.items()}, limited(var_pct_e2=500))
    before = core.portfolio.history.count
    core.process(5_000, LinkChanged(up=False, reason="x", ts_init_ns=START_NS))
    late = START_NS + 10 * NS_PER_HOUR
    core.process(5_001, LinkChanged(up=True, reason="", ts_init_ns=late))
    for symbol in SYMBOLS:
        bar = Bar(symbol=symbol, period_ns=NS_PER_HOUR, ts_open_ns=START_NS, ts_close_ns=START_NS + NS_PER_HOUR,
                  open_e5=1, high_e5=1, low_e5=1, close_e5=prices[symbol][200], spread_e5=8, quotes=4)  # fmt: skip
        core.process(5_002, bar)
    core.portfolio.settle()
    assert core.portfolio.history.count > before


def test_the_page_shows_what_the_book_may_lose():
    core = core_with(closes(250, PAIRS), limited(var_pct_e2=500))
    core.portfolio.settle()
    from tests.harness.books import opened, quote

    for symbol in PAIRS:
        core.book.mark(quote(symbol, bid=1_000_000))
    for n, symbol in enumerate(("EURUSD", "GBPUSD", "USDJPY")):
        opened(core.book, f"c{n}", f"P{n}", volume=1_000_000, price=1_000_000, symbol=symbol)
    shown = portfolio_view(core)
    assert shown.value_at_risk > 0
    assert shown.shortfall >= shown.value_at_risk
    assert len(shown.correlations) == 3
    assert [abs(each.correlation) for each in shown.correlations] == sorted(
        (abs(each.correlation) for each in shown.correlations), reverse=True
    )
    assert len(shown.factors) == 3
    assert shown.factors[0].share > shown.factors[1].share
    assert shown.unmeasured == ()
    assert (shown.bars, shown.min_bars) == (229, 120)


def test_the_page_says_how_many_bars_are_known_before_it_can_measure():
    core = core_with(closes(60, SYMBOLS), limited(var_pct_e2=500))
    core.portfolio.settle()
    shown = portfolio_view(core)
    assert (shown.value_at_risk, shown.bars, shown.unmeasured) == (None, 39, SYMBOLS)


def test_no_figures_where_no_limit_is_on():
    assert portfolio_view(core_with(closes(60, SYMBOLS), limited())) is None
    assert portfolio_view(Core()) is None


def test_the_status_page_tells_them_as_json():
    from tests.daemon.test_web_status_page import folded, get

    assert json.loads(get("/api/status")[2])["portfolio"] is None
    status = folded()
    status.portfolio = lambda: PortfolioView(
        method="filtered", level=0.99, horizon_bars=24, bars=300, min_bars=120, value_at_risk=5, shortfall=7
    )
    told = json.loads(get("/api/status", status)[2])["portfolio"]
    assert (told["value_at_risk"], told["shortfall"], told["horizon_bars"]) == (5, 7, 24)


def test_numpy_is_loaded_only_where_such_a_limit_is_on():
    code = """
import sys, msgspec
from bus.messages import RunStarted
from bus.values import default_instrument
from daemon.core import Core
run = RunStarted(run_id="a", schema=1, mode="paper", currency="USD", money_digits=2, leverage=30, hedged=True,
                 period_ns=10**9, horizons=(1,), levels_ppm=(900_000,), instruments=(default_instrument("EURUSD"),),
                 config_json=sys.argv[1], ts_init_ns=1)
Core().process(1, run)
print("numpy" in sys.modules)
"""
    import msgspec

    for settings, loaded in ((limited(), "False"), (limited(var_pct_e2=1), "True")):
        words = [sys.executable, "-c", code, msgspec.json.encode(settings).decode()]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == loaded
    assert default_instrument("EURUSD").symbol == "EURUSD"

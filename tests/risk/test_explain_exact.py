"""Every limit in words: which are explained, with which settings, and how the table shows them."""

from risk.explain import Setting, explain, table
from risk.limits import RULES
from risk.policies.losses import Losses
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policy import Policy

POLICY = Policy(
    max_spread_pips_e1=40, sizes=Sizes(max_currency_pct_equity=800),
    symbols={"EURUSD": SymbolLimits(max_spread_pips_e1=12, max_orders_per_minute=3), "GBPUSD": SymbolLimits()},
    currencies={"JPY": CurrencyLimits(max_currency_pct_equity=90)},
    strategies={"s": StrategyLimits(max_orders_per_minute=2, daily_loss_pct_e2=77)},
)  # fmt: skip


def explained(policy=POLICY):
    return {limit.rule: limit for limit in explain(policy)}


def test_every_limit_is_explained_in_the_order_of_asking_with_what_the_core_does_by_itself_last():
    limits = explained()
    asked = [rule.ask.__name__ for rule in RULES]
    assert list(limits) == ["number", "symbol", *asked, "protection", "holding", "weekend_flat"]
    for rule in RULES:
        limit = limits[rule.ask.__name__]
        assert limit.sentence == rule.why
        halts = "loss_halt_level" in rule.keys
        assert limit.does == ("refuses entries and halts" if halts else "refuses entries")
    assert limits["daily_loss"].does == "refuses entries and halts"
    assert limits["number"].does == limits["symbol"].does == "refuses entries and exits"
    assert limits["holding"].does == limits["protection"].does == "closes the position"


def test_a_setting_is_explained_with_what_is_in_force_its_default_and_its_bounds():
    limits = explained()
    wide = Setting(key="risk.max_spread_pips_e1", value=40, default=50, unit="1/10 pips", zero="off", lowest=0,
                   sentence="Widest spread at which to enter.", highest=1_000_000)  # fmt: skip
    own = Setting(key="risk.symbols.EURUSD.max_spread_pips_e1", value=12, default=0, unit="1/10 pips", lowest=0,
                  zero="as for the whole account", sentence="Widest spread at which to enter.",
                  highest=1_000_000)  # fmt: skip
    assert limits["spread"].settings == (wide, own)
    assert limits["spread"].scopes == ("symbols",)
    of_group, of_currency = limits["currency_exposure"].settings
    assert (of_group.key, of_group.value, of_group.default) == ("risk.sizes.max_currency_pct_equity", 800, 0)
    assert of_group.unit == "% of equity"
    assert (of_currency.key, of_currency.value) == ("risk.currencies.JPY.max_currency_pct_equity", 90)
    assert limits["currency_exposure"].scopes == ("currencies",)
    keys = [each.key for each in limits["order_rate"].settings]
    assert keys == ["risk.max_orders_per_minute", "risk.symbols.EURUSD.max_orders_per_minute",
                    "risk.strategies.s.max_orders_per_minute"]  # fmt: skip
    assert limits["order_rate"].scopes == ("symbols", "strategies")
    assert limits["number"].settings == limits["equity"].settings == limits["equity"].scopes == ()
    zone, *_ = (each for each in limits["session_hours"].settings if each.key == "risk.hours.zone")
    assert zone == Setting(key="risk.hours.zone", value="America/New_York", default="America/New_York", unit="",
                           sentence="IANA zone on whose clocks the sessions are written.")  # fmt: skip


def test_a_limit_of_scopes_alone_shows_what_is_set_or_where_it_may_be():
    limits = explained()
    (own,) = limits["scope_loss"].settings
    assert (own.key, own.value, own.default) == ("risk.strategies.s.daily_loss_pct_e2", 77, 0)
    unset = explained(Policy())["scope_loss"]
    assert [(each.key, each.value, each.default) for each in unset.settings] == [
        ("risk.symbols.NAME.daily_loss_pct_e2", 0, 0), ("risk.strategies.NAME.daily_loss_pct_e2", 0, 0),
    ]  # fmt: skip
    assert unset.scopes == ("symbols", "strategies")
    assert unset.settings[0].sentence == "Its loss, floating, after which it enters no more today."


def test_the_table_has_a_row_a_limit_and_a_line_a_setting():
    limits = explained()
    rows = table(POLICY).split("\n")
    assert rows[:2] == ["| limit | what it does, and why | settings below `risk` (default) |", "| --- | --- | --- |"]
    assert rows[-1] == ""
    assert len(rows) == 2 + len(limits) + 1
    found = dict(zip(limits, rows[2:-1], strict=True))
    assert found["equity"] == "| `equity` | Refuses entries. Without equity there is nothing to risk. | - |"
    assert found["spread"] == (
        "| `spread` | Refuses entries. An entry pays the spread; a wide one is waited out. | "
        "`max_spread_pips_e1` (50, 1/10 pips)<br>`symbols.EURUSD.max_spread_pips_e1` (0, 1/10 pips)"
        "<br>also in `symbols.NAME` |")  # fmt: skip
    assert found["session_hours"] == (
        "| `session_hours` | Refuses entries. Entries are made in the hours for which the strategy was made. | "
        "`hours.sessions` (empty)<br>`hours.zone` (America/New_York)<br>also in `symbols.NAME` |")  # fmt: skip
    assert "`losses.lock_at_initial` (off)" in found["intraday_drawdown"]
    assert "`hours.rollover_after_min` (0, minutes)" in found["rollover"]
    locked = Policy(
        symbols={"EURUSD": SymbolLimits(sessions=("Mon 08:00-09:00",))}, losses=Losses(lock_at_initial=True)
    )
    own = explained(locked)["session_hours"].settings[-1]
    assert (own.key, own.value, own.default) == ("risk.symbols.EURUSD.sessions", ("Mon 08:00-09:00",), ())
    (lock,) = (each for each in explained(locked)["intraday_drawdown"].settings if "lock" in each.key)
    assert (lock.value, lock.default, lock.unit, lock.lowest) == (True, False, "", None)
    assert "<br>also in `symbols.NAME`, `strategies.NAME` |" in found["order_rate"]
    assert "`news.file` (empty)" in found["news"]

"""What a review by the gate takes with every limit on: ten positions, entries at work, scopes, a full news calendar.

Twice: with every limit that looks at the entry and the book, and with those besides that look at the model and at the
portfolio of ten positions as a whole (value at risk, shortfall, correlation, factors).
"""

import gc
import time

import msgspec

from bench.common import percentiles, report
from bus.messages import IntentRefused, NewsEvent, SubmitOrder
from bus.values import NS_PER_HOUR, NS_PER_S, Side
from risk.coverage import CoverageState
from risk.evidence import ModelStanding
from risk.gate import review
from risk.policies.hours import Hours
from risk.policies.losses import Losses
from risk.policies.news import News
from risk.policies.orders import Orders
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.basket import learnt
from tests.harness.books import NOW_NS, SYMBOLS, begun, entry, opened, order

REVIEWS = 40_000
POSITIONS = 10


def everything_on() -> Policy:
    """Every limit on, none of them met."""

    def wide(kind):
        return kind(**{name: key.highest for name, key in kind.KEYS.items()})

    return Policy(
        daily_loss_pct_e2=5_000, trailing_drawdown_pct_e2=5_000, max_position_pct_equity=10_000,
        max_exposure_pct_equity=20_000, max_leverage_pct=20_000, max_orders_per_minute=1_000,
        sizes=Sizes(max_currency_pct_equity=20_000, max_margin_use_pct=90, min_free_margin=1, max_open_positions=100),
        orders=Orders(max_cancels_per_minute=100, slippage_budget_pct_e2=500, max_holding_s=86_400),
        losses=Losses(weekly_loss_pct_e2=5_000, static_drawdown_pct_e2=5_000, day_end_drawdown_pct_e2=5_000,
                      intraday_drawdown_pct_e2=5_000, lock_at_initial=True, day_zone="Europe/Prague", day_hour=0),
        streaks=Streaks(max_consecutive_losses=5),
        hours=Hours(sessions=("Mon-Fri 03:00-16:30",), rollover_before_min=5, rollover_after_min=30,
                    weekend_entries_min=60, weekend_flat_min=15, week_open_min=60),
        news=News(file="calendar.csv", before_min=15, after_min=15),
        symbols={symbol: wide(SymbolLimits) for symbol in SYMBOLS}, strategies={"s": wide(StrategyLimits)},
        currencies={"USD": wide(CurrencyLimits)},
    )  # fmt: skip


def main() -> None:
    policy, sizing = everything_on(), SizingSettings()
    book = begun(balance=100_000_000)
    for n in range(POSITIONS):
        opened(book, f"c{n}", f"P{n}", Side.BUY if n % 3 else Side.SELL, symbol=SYMBOLS[n % len(SYMBOLS)])
    for n in range(3):
        book.sent(order(f"r{n}", symbol=SYMBOLS[n]), NOW_NS)
    book.record.scheduled(
        NewsEvent(ts_ns=NOW_NS + (2 * n + 1) * NS_PER_HOUR, currency=("USD", "EUR", "GBP")[n % 3], impact=3, title="x")
        for n in range(2_000)
    )
    intents = [entry(side, symbol) for side in (Side.BUY, Side.SELL) for symbol in SYMBOLS]
    intents = [msgspec.structs.replace(each, stop_loss_e5=each.reference_e5 - each.side * each.reference_e5 // 400,
                                       take_profit_e5=0) for each in intents]  # fmt: skip
    model = ModelStanding(model_id="m-1", horizon=1, coverage=CoverageState.OK, n=250, covered=226,
                          nominal_ppm=900_000, expires_ns=NOW_NS + NS_PER_HOUR)  # fmt: skip
    portfolio = learnt(700, SYMBOLS)
    gc.freeze()
    plain = timed(intents, lambda intent: review(intent, book, policy, sizing, NOW_NS + NS_PER_S, client_order_id="c"))
    whole = timed(intents, lambda intent: review(intent, book, policy, sizing, NOW_NS + NS_PER_S, client_order_id="c",
                                                 model=model, portfolio=portfolio))  # fmt: skip
    report("gate", review_us=percentiles(plain), review_with_model_and_portfolio_us=percentiles(whole),
           positions=POSITIONS, reviews=REVIEWS)  # fmt: skip


def timed(intents, ask) -> list[int]:
    taken: list[int] = []
    for n in range(REVIEWS):
        intent = intents[n % len(intents)]
        begin = time.perf_counter_ns()
        answer = ask(intent)
        taken.append(time.perf_counter_ns() - begin)
        if isinstance(answer, IntentRefused):
            raise SystemExit(f"refused by {answer.rule}: {answer.value}; every limit must be asked")
        assert isinstance(answer, SubmitOrder)
    return taken


if __name__ == "__main__":
    main()

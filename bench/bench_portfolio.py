"""Value at risk of ten positions, by method: what a review asks, the whole review, what the close of a bar costs."""

import time

from bench.common import percentiles, report
from bus.messages import HaltLevel, SubmitOrder
from bus.values import NS_PER_HOUR, Side, default_instrument
from daemon.engine import settle_memory
from risk.book import Book
from risk.gate import review
from risk.policies.portfolio import METHODS, PortfolioLimits
from risk.policy import Policy
from risk.portfolio.model import Portfolio
from risk.sizing import SizingSettings
from tests.harness.basket import PAIRS, closes
from tests.harness.books import NOW_NS, account, entry, opened, quote

ROWS = 1_500
WARM_ROWS = 700
REVIEWS = 5_000
PRICE_E5 = 1_000_000


def told(limits):
    """A portfolio that has seen ROWS rows, and what each bar's close cost (the bar that finished its row)."""
    portfolio = Portfolio([default_instrument(symbol) for symbol in PAIRS], limits)
    prices = closes(ROWS)
    taken = []
    for n in range(ROWS):
        for symbol in PAIRS:
            begin = time.perf_counter_ns()
            portfolio.note(symbol, n * NS_PER_HOUR, prices[symbol][n])
            portfolio.settle()
            end = time.perf_counter_ns()
        if n >= WARM_ROWS:
            taken.append(end - begin)
    return portfolio, taken


def ten_positions():
    book = Book(currency="USD", money_digits=2, leverage=30, hedged=True,
                instruments=tuple(default_instrument(symbol) for symbol in PAIRS))  # fmt: skip
    book.apply_snapshot(account(1_000_000_000))
    for symbol in PAIRS:
        book.mark(quote(symbol, bid=PRICE_E5))
    for n, symbol in enumerate(PAIRS):
        opened(book, f"c{n}", f"P{n}", Side.BUY if n % 3 else Side.SELL, 1_000_000, PRICE_E5, symbol)
    return book


def timed(ask, count=REVIEWS):
    for _ in range(200):
        ask()
    taken = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        ask()
        taken.append(time.perf_counter_ns() - begin)
    return taken


def reviews(book, policy, portfolio):
    intent = entry(reference_e5=PRICE_E5 + 8, stop_loss_e5=PRICE_E5 - 500, take_profit_e5=PRICE_E5 + 500)
    sizing = SizingSettings(method="fixed", fixed_lots_e2=10)
    asked = []

    def ask():
        asked.append(
            review(intent, book, policy, sizing, NOW_NS, client_order_id="c", halt_level=HaltLevel.NONE,
                   portfolio=portfolio)
        )  # fmt: skip

    taken = timed(ask)
    assert all(isinstance(each, SubmitOrder) for each in asked)
    return taken


def main():
    book = ten_positions()
    values = {symbol: (n - 4) * 1_000_000 for n, symbol in enumerate(PAIRS)}
    figures = {}
    for method in METHODS:
        limits = PortfolioLimits(method=method)
        portfolio, closing = told(limits)
        settle_memory()
        figures[method] = {
            "value_at_risk_us": percentiles(timed(lambda portfolio=portfolio: portfolio.measure([values]))),
            "review_us": percentiles(reviews(book, Policy(portfolio=limits), portfolio)),
            "bar_close_us": percentiles(closing),
        }
    without, _ = told(PortfolioLimits(correlated_pct_equity=0, factor_pct_e2=0))
    report(
        "portfolio",
        positions=len(PAIRS),
        **figures,
        review_without_factors_and_correlation_us=percentiles(reviews(book, Policy(portfolio=without.limits), without)),
        review_without_portfolio_us=percentiles(reviews(book, Policy(), None)),
    )


if __name__ == "__main__":
    main()

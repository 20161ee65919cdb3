"""Ten pairs that move with their currencies, as bars; and a portfolio that has seen them."""

import random

from bus.values import NS_PER_HOUR, default_instrument
from risk.policies.portfolio import PortfolioLimits
from risk.portfolio.model import Portfolio

PAIRS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "NZDUSD", "USDCAD", "EURGBP", "EURJPY", "GBPJPY", "AUDJPY")


def closes(bars, symbols=PAIRS, *, seed=1, sigma=0.001, wild=None):
    """Closing prices by symbol, a list each: every currency is a Gaussian walk, a pair their difference."""
    source = random.Random(seed)
    worth = {currency: 0.0 for symbol in symbols for currency in (symbol[:3], symbol[3:])}
    found = {symbol: [] for symbol in symbols}
    for n in range(bars):
        for currency in worth:
            worth[currency] += source.gauss(0, sigma) * (wild(n) if wild else 1) / 2**0.5
        for symbol in symbols:
            found[symbol].append(max(1, round(1_000_000 * (1 + worth[symbol[:3]] - worth[symbol[3:]]))))
    return found


def learnt(bars=400, symbols=PAIRS, prices=None, *, instruments=None, **limits):
    """A portfolio that was told these bars, in the order of time."""
    prices = prices or closes(bars, symbols)
    portfolio = Portfolio([default_instrument(each) for each in instruments or symbols], PortfolioLimits(**limits))
    for n in range(max(len(each) for each in prices.values())):
        for symbol, line in prices.items():
            if n < len(line) and line[n]:
                portfolio.note(symbol, n * NS_PER_HOUR, line[n])
        portfolio.settle()
    return portfolio


def loss(portfolio, book):
    """Value at risk and expected shortfall of one book."""
    (found,) = portfolio.measure([book])
    return found

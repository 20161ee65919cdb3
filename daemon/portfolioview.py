"""What the book may lose, as a page shows it: read from the core's book and portfolio, which it cannot change."""

import msgspec

from daemon.core import Core
from daemon.snapshot import FactorView, PairView, PortfolioView
from risk.portfolio.outlook import held_and_wanted, values_of

PAIRS_SHOWN = 5
_PPM = 1_000_000


def portfolio_view(core: Core) -> PortfolioView | None:
    """The figures of this moment; None where no limit of the book as a whole is on."""
    portfolio = core.portfolio
    if portfolio is None:
        return None
    limits = portfolio.limits
    history = portfolio.history
    _, wanted = held_and_wanted(core.book)
    values = values_of(core.book, wanted)
    found = None if values is None else portfolio.measure([values])
    known = PortfolioView(
        method=limits.method,
        level=limits.level_pct_e2 / 10_000,
        horizon_bars=limits.horizon_bars,
        bars=portfolio.bars if portfolio.ready else max(map(history.bars, history.symbols), default=0),
        min_bars=limits.min_bars,
        unmeasured=tuple(each for each in history.symbols if each not in portfolio.measured),
    )
    if values is None or found is None:
        return known
    held = [symbol for symbol in portfolio.measured if values.get(symbol)]
    pairs = [
        PairView(one, other, portfolio.correlation_ppm(one, other) / _PPM)
        for n, one in enumerate(held)
        for other in held[n + 1 :]
    ]
    pairs.sort(key=lambda pair: -abs(pair.correlation))
    return msgspec.structs.replace(
        known,
        value_at_risk=found[0].value_at_risk,
        shortfall=found[0].shortfall,
        correlations=tuple(pairs[:PAIRS_SHOWN]),
        factors=tuple(
            FactorView(factor.name, factor.share_ppm / _PPM, loss)
            for factor, loss in zip(portfolio.factors, portfolio.factor_losses(values), strict=True)
        ),
    )

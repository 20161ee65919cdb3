"""Whether the book as a whole would risk too much: value at risk, shortfall, what moves together, factors.

An entry that lowers a figure passes its rule, even where the figure stays above the limit: to refuse a hedge would keep
the risk that the limit is against. Exits pass every rule anyway. Where something cannot be valued these rules are
silent, and `conversion_rate` refuses.
"""

from risk.limits.check import Breach, Check, Rule

_PCT_E2 = 10_000


def portfolio_history(c: Check) -> Breach | None:
    """Whether too few bars are known to measure anything, and the policy asks for them."""
    if c.outlook is not None and not c.outlook.measured and c.policy.portfolio.require_history:
        bars = c.policy.portfolio.min_bars
        return Breach("portfolio_history", f"{bars} bars of a symbol", "fewer", f"the same entry after {bars} bars")
    return None


def _beyond(c: Check, rule: str, limit_e2: int, after: int, before: int, of: str) -> Breach | None:
    if not limit_e2 or after * _PCT_E2 <= c.equity * limit_e2 or after < before:
        return None
    limit = f"{limit_e2 / 100:.2f} % of equity{of}"
    value = f"{_share(after, c.equity)}, {_share(before, c.equity)} without it"
    return Breach(rule, limit, value, f"{limit_e2 / 100:.2f} % or less, or an entry that lowers it")


def _share(value: int, equity: int) -> str:
    return f"{value * 100 / equity:.2f} %" if equity > 0 else str(value)


def value_at_risk(c: Check) -> Breach | None:
    """Whether the book could lose too much within the horizon."""
    if c.outlook is None or c.outlook.before is None:
        return None
    limits = c.policy.portfolio
    of = f" at {limits.level_pct_e2 / 100:g} % in {limits.horizon_bars} bars"
    return _beyond(c, "value_at_risk", limits.var_pct_e2, c.outlook.after.at_risk, c.outlook.before.at_risk, of)


def expected_shortfall(c: Check) -> Breach | None:
    """Whether the book would lose too much on average where it loses more than its value at risk."""
    if c.outlook is None or c.outlook.before is None:
        return None
    limits = c.policy.portfolio
    of = f" beyond {limits.level_pct_e2 / 100:g} % in {limits.horizon_bars} bars"
    after, before = c.outlook.after.shortfall, c.outlook.before.shortfall
    return _beyond(c, "expected_shortfall", limits.shortfall_pct_e2, after, before, of)


def entry_risk(c: Check) -> Breach | None:
    """Whether this entry alone would add too much to the value at risk."""
    limit_e2 = c.policy.portfolio.entry_var_pct_e2
    if not limit_e2 or c.outlook is None or c.outlook.before is None:
        return None
    added = c.outlook.after.at_risk - c.outlook.before.at_risk
    if added > 0 and added * _PCT_E2 > c.equity * limit_e2:
        limit = f"{limit_e2 / 100:.2f} % of equity"
        return Breach("entry_risk", limit, _share(added, c.equity), f"{limit_e2 / 100:.2f} % or less: a smaller entry")
    return None


def correlation(c: Check) -> Breach | None:
    """Whether positions that move together would become too large together."""
    if c.outlook is None or c.outlook.before is None:
        return None
    limits = c.policy.portfolio
    of = f" in what moves together by {limits.correlated_above_pct} % or more"
    after, before = c.outlook.after.together, c.outlook.before.together
    return _beyond(c, "correlation", limits.correlated_pct_equity * 100, after, before, of)


def factor(c: Check) -> Breach | None:
    """Whether too much would hang on one factor."""
    if c.outlook is None or c.outlook.before is None:
        return None
    losses = zip(c.outlook.names, c.outlook.after.factors, c.outlook.before.factors, strict=True)
    for rank, (name, after, before) in enumerate(losses, 1):
        of = f" by one deviation of {name} (component {rank})"
        breach = _beyond(c, "factor", c.policy.portfolio.factor_pct_e2, after, before, of)
        if breach is not None:
            return breach
    return None


_SCENARIOS = (
    "portfolio.method",
    "portfolio.level_pct_e2",
    "portfolio.horizon_bars",
    "portfolio.window_bars",
    "portfolio.min_bars",
)

RULES = (
    Rule(
        portfolio_history,
        "What positions lose together is known from history alone; without any, the limits on size are all there is.",
        ("portfolio.require_history", "portfolio.min_bars"),
        needs="outlook",
    ),
    Rule(
        value_at_risk,
        "Positions that are each small enough can lose too much together; an entry that lowers that is welcome.",
        ("portfolio.var_pct_e2", *_SCENARIOS),
        needs="outlook",
    ),
    Rule(
        expected_shortfall,
        "How bad the bad days are counts as well as how rare they are.",
        ("portfolio.shortfall_pct_e2", *_SCENARIOS),
        needs="outlook",
    ),
    Rule(
        entry_risk,
        "No single entry takes up most of what the book may risk.",
        ("portfolio.entry_var_pct_e2", *_SCENARIOS),
        needs="outlook",
    ),
    Rule(
        correlation,
        "Positions that move together are one position in several names.",
        ("portfolio.correlated_pct_equity", "portfolio.correlated_above_pct"),
        needs="outlook",
    ),
    Rule(
        factor,
        "A book of many positions can still be one bet, on the dollar for instance.",
        ("portfolio.factor_pct_e2", "portfolio.horizon_bars"),
        needs="outlook",
    ),
)

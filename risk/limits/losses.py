"""Whether the account has lost too much to risk more. The same bounds latch halts (`risk.halt`)."""

from risk.limits.check import Breach, Check, Rule

_PCT_E2 = 10_000


def equity(c: Check) -> Breach | None:
    """Whether there is equity to trade with at all."""
    if c.equity <= 0:
        return Breach("equity", "above 0", str(c.equity), "an account with equity")
    return None


def _lost(c: Check, rule: str, reference: int, limit_e2: int) -> Breach | None:
    if limit_e2 and (reference - c.equity) * _PCT_E2 >= reference * limit_e2 and reference > 0:
        value = f"{(reference - c.equity) * 100 / reference:.2f} % of {reference}"
        return Breach(rule, f"{limit_e2 / 100:.2f} %", value, f"a loss below {limit_e2 / 100:.2f} %, or a resume")
    return None


def daily_loss(c: Check) -> Breach | None:
    """Whether the trading day has lost too much, floating; the same bound latches a halt (`risk.halt`)."""
    return _lost(c, "daily_loss", c.day_start_equity, c.policy.daily_loss_pct_e2)


def trailing_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below its highest; the same bound latches a halt."""
    return _lost(c, "trailing_drawdown", c.peak_equity, c.policy.trailing_drawdown_pct_e2)


RULES = (
    Rule(equity, "Without equity there is nothing to risk."),
    Rule(
        daily_loss,
        "A day that has lost too much, counting what still floats, takes no more risk.",
        ("daily_loss_pct_e2",),
    ),
    Rule(
        trailing_drawdown,
        "Nor does an account that has fallen too far from its highest floating equity.",
        ("trailing_drawdown_pct_e2",),
    ),
)

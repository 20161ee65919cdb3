"""Whether the account has lost too much to risk more. The same floors latch halts (`risk.halt`, `risk.watermarks`)."""

from bus.calendar import to_datetime
from bus.values import NS_PER_S
from risk.limits.check import Breach, Check, Rule

_PCT_E2 = 10_000


def equity(c: Check) -> Breach | None:
    """Whether there is equity to trade with at all."""
    if c.equity <= 0:
        return Breach("equity", "above 0", str(c.equity), "an account with equity")
    return None


def _lost(c: Check, rule: str) -> Breach | None:
    for floor in c.fallen:
        if floor.rule == rule:
            value = f"{floor.lost(c.equity)} since {floor.since}"
            return Breach(rule, floor.limit, value, f"equity above {floor.at}, or a resume")
    return None


def daily_loss(c: Check) -> Breach | None:
    """Whether the trading day has lost too much, floating."""
    return _lost(c, "daily_loss")


def weekly_loss(c: Check) -> Breach | None:
    """Whether the trading week has lost too much, floating."""
    return _lost(c, "weekly_loss")


def trailing_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below its highest, in percent of that."""
    return _lost(c, "trailing_drawdown")


def static_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below the initial balance."""
    return _lost(c, "static_drawdown")


def day_end_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below the highest end of a trading day."""
    return _lost(c, "day_end_drawdown")


def intraday_drawdown(c: Check) -> Breach | None:
    """Whether floating equity is too far below the highest floating equity, in percent of the initial balance."""
    return _lost(c, "intraday_drawdown")


def scope_loss(c: Check) -> Breach | None:
    """Whether the symbol or the strategy has lost, floating, as much today as it may."""
    for limit_e2, place in c.limits["daily_loss_pct_e2"]:
        at = c.figures[place]
        if at.result < 0 and -at.result * _PCT_E2 >= c.day_start_equity * limit_e2:
            limit = f"{limit_e2 / 100:.2f} % of {c.day_start_equity} in {at.name}"
            return Breach("scope_loss", limit, f"{-at.result} lost", "the next trading day")
    return None


def losing_streak(c: Check) -> Breach | None:
    """Whether too many positions in a row have lost, and the pause after them is not over."""
    cool_s = c.policy.streaks.cool_down_s
    for limit, place in c.limits["max_consecutive_losses"]:
        at = c.figures[place]
        if at.losses < limit:
            continue
        over = c.now_ns >= at.last_loss_ns + cool_s * NS_PER_S if cool_s else c.day_begin_ns > at.last_loss_ns
        if not over:
            when = f"{to_datetime(at.last_loss_ns + cool_s * NS_PER_S):%Y-%m-%d %H:%M} UTC"
            return Breach(
                "losing_streak",
                f"{limit} losses in a row{c.whose(place)}",
                f"{at.losses}, the last at {to_datetime(at.last_loss_ns):%Y-%m-%d %H:%M} UTC",
                f"the same entry from {when} on" if cool_s else "the next trading day",
            )
    return None


_DAY = ("losses.day_zone", "losses.day_hour", "losses.day_from")
_INITIAL = ("losses.initial_balance",)
_TRAIL = ("losses.lock_at_initial", "losses.high_water", *_INITIAL)

RULES = (
    Rule(equity, "Without equity there is nothing to risk."),
    Rule(
        daily_loss,
        "A day that has lost too much, counting what still floats, takes no more risk.",
        ("daily_loss_pct_e2", "loss_halt_level", "losses.percent_of", *_DAY),
        needs="fallen",
    ),
    Rule(
        weekly_loss,
        "A bad week ends before it becomes a bad month.",
        ("losses.weekly_loss_pct_e2", "loss_halt_level", "losses.percent_of", *_DAY),
        needs="fallen",
    ),
    Rule(
        trailing_drawdown,
        "An account that has fallen too far from its highest floating equity takes no more risk.",
        ("trailing_drawdown_pct_e2", "loss_halt_level"),
        needs="fallen",
    ),
    Rule(
        static_drawdown,
        "The account never falls further below the balance that it was given than its lender allows.",
        ("losses.static_drawdown_pct_e2", "loss_halt_level", *_INITIAL),
        needs="fallen",
    ),
    Rule(
        day_end_drawdown,
        "What a day has won at its end is not lost again beyond a fixed amount.",
        ("losses.day_end_drawdown_pct_e2", "loss_halt_level", *_TRAIL, *_DAY),
        needs="fallen",
    ),
    Rule(
        intraday_drawdown,
        "What equity has reached at any moment is not lost again beyond a fixed amount.",
        ("losses.intraday_drawdown_pct_e2", "loss_halt_level", *_TRAIL),
        needs="fallen",
    ),
    Rule(scope_loss, "What loses too much alone is stopped before it stops everything.", ("*.daily_loss_pct_e2",)),
    Rule(
        losing_streak,
        "After losses in a row the market may not be the one that was learnt; a pause costs little.",
        ("streaks.max_consecutive_losses", "streaks.cool_down_s", "*.max_consecutive_losses"),
    ),
)

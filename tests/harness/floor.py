"""A witness of loss limits: once one is passed, the account loses no more than what its stops and a gap allow.

Theory of operation. Twice a second it asks the venue what equity is, and what would be left of it if everything that is
open or at rest met its stop: volume times the way to the stop, GAP_MOVES of the largest moves that the market has made
(one price may jump, and a fill comes some prices after the stop is reached), and charges. That is the gap buffer. From
SETTLED_S after a limit was passed (the daemon must hear of it, and what it had sent before must arrive), equity may not
fall below what would have been left at any look since. So risk that is taken after the limit shows, whoever forgot to
forbid it. All figures are the venue's; the daemon's book is not asked.
"""

from dataclasses import dataclass

from bus.values import default_instrument

GAP_MOVES = 4
SETTLED_S = 45
_PER_MILLION = 100 / 1_000_000
"""An in-and-out charge at 30 per million a side, with room for more fills than one."""


@dataclass
class Floor:
    """One account.

    Attributes:
        daily_pct_e2: daily loss limit in 1/100 per cent of the first equity.
        drawdown_pct_e2: the same of the highest equity seen.
        passed_at: when equity was first at or below a limit; None = never.
        least: smallest unit of the account's currency; equity below it is a violation.
    """

    daily_pct_e2: int
    drawdown_pct_e2: int
    start: int = 0
    peak: int = 0
    passed_at: float | None = None
    least: float | None = None
    broken: bool = False

    def look(self, now_s, broker, resting, moves_e5):
        """Judge the account as it is now.

        Args:
            now_s: virtual seconds.
            broker: the venue's exchange of the account.
            resting: `SubmitOrder`s at rest there.
            moves_e5: largest move of each symbol until now, spread included.

        Returns:
            What is wrong, or None.
        """
        equity = broker.equity
        self.start = self.start or equity
        self.peak = max(self.peak, equity)
        passed = (self.start - equity) * 10_000 >= self.start * self.daily_pct_e2
        passed |= (self.peak - equity) * 10_000 >= self.peak * self.drawdown_pct_e2
        if passed and self.passed_at is None:
            self.passed_at = now_s
        if self.passed_at is None or now_s < self.passed_at + SETTLED_S:
            return None
        left = equity - at_risk(broker, resting, moves_e5)
        self.least = left if self.least is None else max(self.least, left)
        if equity < self.least and not self.broken:
            self.broken = True  # told once
            return (
                f"equity {equity} fell below {self.least:.0f}, {now_s - self.passed_at:.0f} s after a limit was passed"
            )
        return None


def at_risk(broker, resting, moves_e5):
    """What is lost, in the account's smallest unit, if everything that is open or at rest meets its stop."""
    worst = 0.0
    for position in broker.positions:
        quote = broker.quote(position.symbol)
        mark_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
        if not position.stop_loss_e5:
            return float("inf")
        way_e5 = max(0, (mark_e5 - position.stop_loss_e5) * position.side)
        worst += _money(position.symbol, mark_e5, position.volume_e2, way_e5 + GAP_MOVES * moves_e5[position.symbol])
    for order in resting:
        entry_e5 = order.limit_e5 or order.trigger_e5
        way_e5 = abs(entry_e5 - order.stop_loss_e5) + GAP_MOVES * moves_e5[order.symbol]
        worst += _money(order.symbol, entry_e5, order.volume_e2, way_e5)
    return worst


def _money(symbol, price_e5, volume_e2, way_e5):
    """Cents of a USD account for a way of a price, charges included. USD is one of the pair's two currencies."""
    per_unit = way_e5 / 100_000 if default_instrument(symbol).quote == "USD" else way_e5 / price_e5
    value = price_e5 / 100_000 if default_instrument(symbol).quote == "USD" else 1.0
    return volume_e2 * (per_unit * 1.01 + value * _PER_MILLION)

"""Halts that hold until somebody lifts them.

Theory of operation. A halt comes from an operator (any number of times; the highest level counts) or from one of two
rules on floating equity: loss since the start of the trading day, and drawdown from the highest equity. A rule latches
once; recovering does not lift it, and a new day does not either: a person does, with a name and a reason. Whoever
lifts also resets the references (`Book.reset_references`): peak and start of day become the equity of that moment, so
that the old loss does not latch again at once, and a further loss of the same size does.
"""

from bus.messages import HaltLatched, HaltLevel, HaltLifted, HaltTrading, ResumeTrading
from risk.book import Book
from risk.policy import Policy

_PCT_E2 = 10_000


class Halts:
    """Which halts are in force.

    Attributes:
        level: the highest level in force; NONE where trading may take risk.
    """

    def __init__(self) -> None:
        self.level = HaltLevel.NONE
        self._latched: dict[str, HaltLevel] = {}

    @property
    def latched(self) -> tuple[str, ...]:
        """Rules and sources in force, in the order in which they latched."""
        return tuple(self._latched)

    def on_command(self, command: HaltTrading) -> HaltLatched:
        """Halt because somebody says so. A lower level than before does not lower it."""
        source = command.source or "operator"
        held = max(command.level, self._latched.get(source, HaltLevel.NONE))
        return self._latch(
            source,
            held,
            limit="",
            value="",
            reason=f"{command.operator}: {command.reason}",
            now_ns=command.ts_init_ns,
        )

    def lift(self, command: ResumeTrading) -> HaltLifted | None:
        """Lift every halt; None where none is in force."""
        if not self._latched:
            return None
        self._latched.clear()
        self.level = HaltLevel.NONE
        return HaltLifted(operator=command.operator, reason=command.reason, ts_init_ns=command.ts_init_ns)

    def check(self, book: Book, policy: Policy, now_ns: int) -> HaltLatched | None:
        """Hold floating equity against both rules; the halt that this latches, once a breach. Cheap: a few integers.

        Where both break at once the daily loss is told first, the drawdown at the next check.
        """
        if book.balance is None:
            return None
        equity = book.equity
        for rule, reference, limit_e2 in (
            ("daily_loss", book.day_start_equity, policy.daily_loss_pct_e2),
            ("trailing_drawdown", book.peak_equity, policy.trailing_drawdown_pct_e2),
        ):
            lost = reference - equity
            if lost > 0 and limit_e2 and lost * _PCT_E2 >= reference * limit_e2 and rule not in self._latched:
                since = "the start of the trading day" if rule == "daily_loss" else "the highest equity"
                return self._latch(
                    rule,
                    HaltLevel(policy.loss_halt_level),
                    limit=f"{limit_e2 / 100:.2f} % of {reference}",
                    value=f"{lost} lost" + (f", {lost * 100 / reference:.2f} %" if reference > 0 else ""),
                    reason=f"floating equity {equity} against {reference} at {since}",
                    now_ns=now_ns,
                )
        return None

    def _latch(self, rule: str, level: HaltLevel, *, limit: str, value: str, reason: str, now_ns: int) -> HaltLatched:
        self._latched[rule] = level
        self.level = max(self.level, level)
        return HaltLatched(level=level, rule=rule, limit=limit, value=value, reason=reason, ts_init_ns=now_ns)

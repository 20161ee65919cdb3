"""Halts that hold until somebody lifts them.

Theory of operation. A halt comes from an operator (any number of times; the highest level counts), from a rule on
floating equity (loss since the start of the trading day or week, and drawdowns: `risk.watermarks`), or from something
that does not work any more (`trip`): where equity cannot be worked out no loss can be limited, and that is a halt like
a loss. A rule latches once; recovering does not lift it, and a new day does not either: a person does, with a name and
a reason. Whoever lifts also resets the references (`Book.reset_references`): peak, start of day and what is broken
start from the equity of that moment, so that the old loss does not latch again at once, and a further loss of the same
size does.

Nothing here but `check` asks what anything is worth: halting, cancelling and flattening work where valuing does not.
"""

from bus.messages import HaltLatched, HaltLevel, HaltLifted, HaltTrading, ResumeRefused, ResumeTrading
from bus.people import unnamed
from risk.book import Book
from risk.policy import Policy


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

    def trip(self, rule: str, level: HaltLevel, reason: str, now_ns: int) -> HaltLatched | None:
        """Halt because something does not work; None where the rule is latched at this level or a higher one."""
        if self._latched.get(rule, HaltLevel.NONE) >= level:
            return None
        return self._latch(rule, level, limit="", value="", reason=reason, now_ns=now_ns)

    def lift(self, command: ResumeTrading) -> HaltLifted | ResumeRefused | None:
        """Lift every halt; a refusal where nobody is named or no reason is given, None where none is in force."""
        why = unnamed(command.operator, command.reason)
        if why:
            return ResumeRefused(
                operator=command.operator, reason=command.reason, why=why, ts_init_ns=command.ts_init_ns
            )
        if not self._latched:
            return None
        self._latched.clear()
        self.level = HaltLevel.NONE
        return HaltLifted(operator=command.operator, reason=command.reason, ts_init_ns=command.ts_init_ns)

    def check(self, book: Book, policy: Policy, now_ns: int) -> HaltLatched | None:
        """Hold floating equity against every floor (`risk.watermarks`); the halt that this latches, once a breach.

        Where several break at once the first is told now, the next at the next check. Cheap: a few integers.
        """
        if book.balance is None:
            return None
        equity, floors = book.equity, book.watermarks.floors(policy)
        if equity > book.watermarks.highest_floor:
            return None
        for floor in floors:
            if equity <= floor.at and floor.rule not in self._latched:
                return self._latch(
                    floor.rule,
                    HaltLevel(policy.loss_halt_level),
                    limit=floor.limit,
                    value=floor.lost(equity),
                    reason=f"floating equity {equity} against {floor.mark} at {floor.since}",
                    now_ns=now_ns,
                )
        return None

    def _latch(self, rule: str, level: HaltLevel, *, limit: str, value: str, reason: str, now_ns: int) -> HaltLatched:
        self._latched[rule] = level
        self.level = max(self.level, level)
        return HaltLatched(level=level, rule=rule, limit=limit, value=value, reason=reason, ts_init_ns=now_ns)

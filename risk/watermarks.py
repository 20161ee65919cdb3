"""What equity is held against: where the day and the week began, the highest points, and the floors that follow.

Theory of operation. A fold over what the book tells it: equity after every revaluation (`rise`), time (`turn`), cash
(`moved`), and an operator who resumes (`resume`). A trading day begins at an hour of a named zone (`risk.policies.
losses`), and starts from the equity and balance that the last message before that moment left; however many days pass
without a message, they start alike. The week begins with Monday's day.

`floors` gives every floor that a policy sets. Equity at or below one breaks it: exactly, in integers, since a floor is
the largest whole amount that breaks. They are worked out when a mark has moved and kept otherwise.

Resuming after a halt starts day, peak and every broken floor anew from the equity of that moment, so that the old loss
does not latch again at once and a further loss of the same size does. A floor that is not broken stays where it is: an
operator who lifts some other halt loosens no drawdown that way.
"""

import msgspec

from bus.calendar import next_day_ns, week_begin_ns
from bus.values import LARGEST
from risk.policy import Policy

_PCT_E2 = 10_000


class Floor(msgspec.Struct, frozen=True, gc=False):
    """One limit on losses, in the account's smallest unit.

    Attributes:
        rule: whose limit it is.
        at: equity at or below this breaks it.
        mark: what the loss is counted from.
        base: what the limit is a percentage of.
        limit_pct_e2: the limit, in 1/100 percent of `base`.
        since: in words, what the mark is.
    """

    rule: str
    at: int
    mark: int
    base: int
    limit_pct_e2: int
    since: str

    @property
    def limit(self) -> str:
        """What is allowed, in words."""
        return f"{self.limit_pct_e2 / 100:.2f} % of {self.base}"

    def lost(self, equity: int) -> str:
        """What was met, in words."""
        lost = self.mark - equity
        return f"{lost} lost" + (f", {lost * 100 / self.base:.2f} %" if self.base > 0 else "")


class Watermarks:
    """The marks of one account.

    Attributes:
        initial: the balance that drawdowns are percentages of; cash moves it.
        peak: highest equity since the start or the last resume.
        day_start: where the trading day began, or later if somebody resumed since.
        week_start: the same of the week.
        static_mark: what static drawdown is counted from: the initial balance, or the equity at a resume after it.
        day_end_peak: highest value at which a trading day ended, never below where it all began.
        intraday_peak: highest floating equity, never below where it all began.
        next_day_ns: when the next trading day begins; 0 before the start.
        highest_floor: of those that `floors` gave last: equity above it breaks none.
    """

    def __init__(self, policy: Policy, money_digits: int) -> None:
        self._policy = policy
        self._unit = 10**money_digits
        self.initial = self.peak = self.day_start = self.week_start = 0
        self.static_mark = self.day_end_peak = self.intraday_peak = 0
        self.next_day_ns = 0
        self._week_begin_ns = 0
        self.highest_floor = -LARGEST
        self._floors: tuple[Floor, ...] | None = None
        self._floors_of: Policy | None = None

    def start(self, equity: int, balance: int, now_ns: int) -> None:
        """Begin with an account as it is."""
        losses = self._policy.losses
        self.initial = self.static_mark = losses.initial_balance * self._unit or balance
        self.peak = equity
        self.day_start = self.week_start = self._marked(equity, balance)
        known = max(self.initial, losses.high_water * self._unit)
        self.day_end_peak = max(known, self.day_start)
        self.intraday_peak = max(known, equity)
        self.next_day_ns = next_day_ns(now_ns, losses.day_zone, losses.day_hour)
        self._week_begin_ns = week_begin_ns(now_ns, losses.day_zone, losses.day_hour)
        self._floors = None

    def turn(self, equity: int, balance: int, now_ns: int) -> None:
        """A new trading day has begun (`next_day_ns` has come), with these as the last one left them."""
        losses = self._policy.losses
        self.day_start = self._marked(equity, balance)
        self.day_end_peak = max(self.day_end_peak, self.day_start)
        self.next_day_ns = next_day_ns(now_ns, losses.day_zone, losses.day_hour)
        week_ns = week_begin_ns(now_ns, losses.day_zone, losses.day_hour)
        if week_ns != self._week_begin_ns:
            self._week_begin_ns = week_ns
            self.week_start = self.day_start
        self._floors = None

    def rise(self, equity: int) -> None:
        """Equity is above `peak`."""
        self.peak = equity
        self.intraday_peak = max(self.intraday_peak, equity)
        self._floors = None

    def moved(self, delta: int) -> None:
        """Cash came (or went, negative): no result of trading, so every mark moves with it."""
        self.initial += delta
        self.peak += delta
        self.day_start += delta
        self.week_start += delta
        self.static_mark += delta
        self.day_end_peak += delta
        self.intraday_peak += delta
        self._floors = None

    def resume(self, equity: int) -> None:
        """Somebody lifted the halts: start anew where the account would be halted again at once."""
        broken = {floor.rule for floor in self.floors(self._policy) if equity <= floor.at}
        self.peak = self.day_start = equity
        if "weekly_loss" in broken:
            self.week_start = equity
        if "static_drawdown" in broken:
            self.static_mark = equity
        if "day_end_drawdown" in broken:
            self.day_end_peak = equity
        if "intraday_drawdown" in broken:
            self.intraday_peak = equity
        self._floors = None

    def floors(self, policy: Policy) -> tuple[Floor, ...]:
        """Every floor that a policy sets, in the order in which they are told."""
        if self._floors is None or self._floors_of is not policy:
            self._floors = tuple(self._set_by(policy))
            self._floors_of = policy
            self.highest_floor = max((floor.at for floor in self._floors), default=-LARGEST)
        return self._floors

    def _set_by(self, policy: Policy) -> "list[Floor]":
        losses, initial = policy.losses, self.initial
        of_initial = losses.percent_of == "initial"
        floors: list[Floor] = []

        def add(rule: str, limit_pct_e2: int, mark: int, base: int, since: str, *, trails: bool = False) -> None:
            if not limit_pct_e2:
                return
            # Of what is not there, no part can be lost: every loss is too much.
            at = (mark * _PCT_E2 - base * limit_pct_e2) // _PCT_E2 if base > 0 else mark - 1
            if trails and losses.lock_at_initial:
                at = min(at, initial)
            floors.append(Floor(rule, at, mark, base, limit_pct_e2, since))

        day, week = self.day_start, self.week_start
        add("daily_loss", policy.daily_loss_pct_e2, day, initial if of_initial else day, "the start of the trading day")
        add("trailing_drawdown", policy.trailing_drawdown_pct_e2, self.peak, self.peak, "the highest equity")
        add("weekly_loss", losses.weekly_loss_pct_e2, week, initial if of_initial else week, "the start of the week")
        add("static_drawdown", losses.static_drawdown_pct_e2, self.static_mark, initial, "the initial balance")
        add("day_end_drawdown", losses.day_end_drawdown_pct_e2, self.day_end_peak, initial, "the highest end of a day",
            trails=True)  # fmt: skip
        add("intraday_drawdown", losses.intraday_drawdown_pct_e2, self.intraday_peak, initial,
            "the highest floating equity", trails=True)  # fmt: skip
        return floors

    def _marked(self, equity: int, balance: int) -> int:
        """What a day starts from, and ends at."""
        way = self._policy.losses.day_from
        return equity if way == "equity" else balance if way == "balance" else max(equity, balance)

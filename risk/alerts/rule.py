"""What a rule is, what it may look at, and what it says.

Theory of operation. A rule hears messages of some types and answers with readings: of this subject, what was met, what
is allowed, and whether that is a breach, the all-clear, or in between. It keeps what it must remember and decides
nothing else: that an alert is raised once a breach and cleared once is the fold's affair (`risk.alerts`). `Context` is
what all rules share: the run's terms and an account of its own, folded from the journal like the core's.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from bus.errors import InvariantBroken
from bus.messages import (
    AccountSnapshot,
    AnyMessage,
    BalanceMoved,
    Bar,
    CancelOrder,
    ForecastRequested,
    ForeignChanged,
    HaltLifted,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    ProtectionChanged,
    Quote,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from bus.values import Instrument
from risk.alerts.settings import AlertSettings
from risk.book import Book
from risk.orders import remember
from risk.policy import Policy
from risk.reconcile import compare

SEVERITIES = ("info", "warning", "critical")
"""From what may wait to what may not."""

_FACTS = (
    OrderAccepted,
    OrderRejected,
    OrderCancelled,
    OrderExpired,
    OrderUnknown,
    OrderFilled,
    ProtectionChanged,
    SwapCharged,
    ForeignChanged,
    BalanceMoved,
)


Words = Callable[[], tuple[str, str]]
"""What was met and what is allowed, put into words only where somebody is told."""


_TIMELESS = (Bar, ForecastRequested)
"""They tell no time of ours."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found of one subject. `breached` None = between breach and all-clear: nothing changes."""

    subject: str
    breached: bool | None
    words: Words


class _Decided(msgspec.Struct):
    """What of `RunStarted.config_json` the rules look at."""

    risk: Policy = Policy()


class Context:
    """What all rules share.

    Attributes:
        settings: the bounds.
        instruments: by symbol, from `RunStarted`.
        policy: the limits that rule; None before the run has started, or where they cannot be read.
        book: the account; None before the run has started, and from where it contradicted itself.
        broken: how it did, in words; empty = it did not.
        repeated: whether the message at hand tells a deal that was told before.
        now_ns: the newest time that a message told.
        shared: what one rule has worked out of the message at hand, for the next; None = nothing yet.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self.instruments: dict[str, Instrument] = {}
        self.policy: Policy | None = None
        self.book: Book | None = None
        self.broken = ""
        self.repeated = False
        self.now_ns = 0
        self.shared: Any = None
        self._deals: dict[str, None] = {}

    def on(self, message: AnyMessage) -> None:
        """Take in a message before the rules hear of it."""
        self.shared = None
        if isinstance(message, OrderFilled):
            self.repeated = message.deal_id in self._deals
            remember(self._deals, message.deal_id, None)
        elif isinstance(message, RunStarted):
            self._start(message)
        if not isinstance(message, _TIMELESS):
            self.now_ns = max(self.now_ns, message.ts_init_ns)
        if self.book is not None:
            try:
                self._fold(self.book, message)
            except InvariantBroken as error:  # what the core makes of that is the core's affair
                self.book, self.broken = None, str(error)

    def _start(self, run: RunStarted) -> None:
        self.instruments = {each.symbol: each for each in run.instruments}
        try:
            self.policy = msgspec.json.decode(run.config_json, type=_Decided).risk
        except msgspec.MsgspecError:
            self.policy = None
        self.book = Book(
            currency=run.currency,
            money_digits=run.money_digits,
            leverage=run.leverage,
            hedged=run.hedged,
            instruments=run.instruments,
            policy=self.policy,
        )

    @staticmethod
    def _fold(book: Book, message: AnyMessage) -> None:
        if type(message) is Quote:
            book.mark(message)
        elif isinstance(message, _FACTS):
            book.fold(message)
        elif isinstance(message, SubmitOrder | CancelOrder):
            book.sent(message, message.ts_init_ns)
        elif isinstance(message, AccountSnapshot):
            if book.balance is None:
                book.apply_snapshot(message)
            elif not compare(book, message):
                book.settle_unknown(message)
        elif isinstance(message, HaltLifted):
            book.reset_references()


class Rule(Protocol):
    """One rule. To add one: a class like this in one of the room's files, and its name in that file's `RULES`.

    Attributes:
        name: of the rule, for `[alerts] off` and in every alert.
        severity: one of `SEVERITIES`.
        why: one sentence for people.
        advice: what to do about it.
        hears: types of the messages it is called with; empty = a shell tells it (`Alerts.tell`).
    """

    name: str
    severity: str
    why: str
    advice: str
    hears: tuple[type[Any], ...]

    def on(self, message: Any, context: Context) -> Iterable[Reading]:
        """What a message says about the rule's subjects."""
        ...


class Told:
    """Base of a rule that hears no messages: a shell looks, and tells."""

    hears: tuple[type[Any], ...] = ()

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Nothing is heard."""
        return ()


def graded(subject: str, met: int, bound: int, settings: AlertSettings, words: Words) -> Reading:
    """A reading of a figure that must not be above a bound, with the settings' hysteresis. Both of one unit, whole."""
    breached = True if met > bound else False if met * 100 <= bound * settings.clear_pct else None
    return Reading(subject=subject, breached=breached, words=words)

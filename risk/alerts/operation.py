"""Whether the machine, the connection and the account are in order. The last four are told by shells."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from bus.messages import (
    AccountSnapshot,
    HaltLatched,
    HaltLifted,
    LinkChanged,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    Quote,
)
from bus.values import NS_PER_MS
from risk.alerts.rule import Context, Reading, Rule, Told, graded
from risk.alerts.settings import AlertSettings

_NONE_UNANSWERED = "0 commands unanswered"

CLOCK_QUOTES = 200
"""Quotes of which the quickest tells how far apart the clocks are at least."""


class Connection:
    """The way to the venue is lost."""

    name = "connection"
    severity = "critical"
    why = "The venue cannot be reached: nothing can be opened, and nothing closed but by the stops that lie there."
    advice = "check network and broker status; it connects again by itself, and positions keep their stops"
    hears: tuple[type[Any], ...] = (LinkChanged,)

    def on(self, message: LinkChanged, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Say whether it is up."""
        value = message.reason or ("up" if message.up else "lost")
        yield Reading(subject="venue", breached=not message.up, words=lambda: (value, "a ready connection"))


class Halted:
    """A halt is in force."""

    name = "halt"
    severity = "critical"
    why = "A halt latched: nothing new is risked until an operator lifts it."
    advice = "find out why; lift it with `plimsoll resume --operator NAME --reason WHY`"
    hears: tuple[type[Any], ...] = (HaltLatched, HaltLifted)

    def __init__(self) -> None:
        self._latched: dict[str, None] = {}

    def on(self, message: HaltLatched | HaltLifted, context: Context) -> Iterable[Reading]:  # noqa: ARG002
        """One alert a rule or source; lifting clears them all."""
        if isinstance(message, HaltLatched):
            self._latched[message.rule] = None
            value = f"{message.level.name}: {message.value or message.reason}"
            limit = message.limit or "no halt"
            yield Reading(subject=message.rule, breached=True, words=lambda: (value, limit))
            return
        lifted = f"lifted by {message.operator}: {message.reason}"
        for rule in self._latched:
            yield Reading(subject=rule, breached=False, words=lambda: (lifted, "no halt"))
        self._latched.clear()


class UnknownOutcome:
    """A command was written, and nobody knows what became of it."""

    name = "unknown_outcome"
    severity = "critical"
    why = "A command was sent and not answered: it may or may not have been carried out."
    advice = "compare with the broker's own platform; the symbol takes no new risk until there is evidence"
    hears: tuple[type[Any], ...] = (
        OrderUnknown,
        OrderAccepted,
        OrderFilled,
        OrderRejected,
        OrderCancelled,
        OrderExpired,
        AccountSnapshot,
    )

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    def on(self, message: Any, context: Context) -> Iterable[Reading]:  # noqa: ARG002 (the protocol's shape)
        """Look at which symbols have such a command."""
        if context.book is None or not (context.book.table.unknown or self._open):
            return
        counts = Counter(context.book.table.unknown.values())
        for symbol in [each for each in self._open if each not in counts]:
            yield Reading(subject=symbol, breached=False, words=lambda: ("answered", _NONE_UNANSWERED))
        for symbol, n in counts.items():
            words = (f"{n} unanswered", _NONE_UNANSWERED)
            yield Reading(subject=symbol, breached=True, words=lambda words=words: words)
        self._open = dict.fromkeys(counts)


class ClockApart:
    """Our clock and the venue's are apart.

    A quote cannot come before it was made: of many, the least difference of both stamps is the clocks' offset and the
    shortest way. Below -bound our clock is slow; above it, it is fast, or every quote is that late.
    """

    name = "clock"
    severity = "critical"
    why = "Our clock and the venue's are apart, so ages, expiries and ends of bars are wrong."
    advice = "run: timedatectl set-ntp true; check with `plimsoll doctor`"
    hears: tuple[type[Any], ...] = (Quote,)

    def __init__(self) -> None:
        self._least = 0
        self._left = CLOCK_QUOTES

    def on(self, message: Quote, context: Context) -> Iterable[Reading]:
        """Look at the quickest quote of so many."""
        apart = message.ts_init_ns - message.ts_event_ns
        if self._left == CLOCK_QUOTES or apart < self._least:
            self._least = apart
        self._left -= 1
        if self._left:
            return ()
        self._left = CLOCK_QUOTES
        return (clock_reading("venue", self._least, context.settings),)


def clock_reading(subject: str, apart_ns: int, settings: AlertSettings) -> Reading:
    """Hold a difference of clocks against the bound. `step` is what a shell tells of our own clock being set."""
    words = (f"{apart_ns / 1e6:+.0f} ms", f"{settings.clock_offset_ms} ms")
    return graded(subject, abs(apart_ns), settings.clock_offset_ms * NS_PER_MS, settings, lambda: words)


class ClockStepped(Told):
    """Somebody set our clock while we traded."""

    name = "clock_step"
    severity = "warning"
    why = "This machine's clock was set at once instead of being slewed, while trading."
    advice = "find out who sets it; let one NTP service slew it"


class DiskFull(Told):
    """The journal will soon have no room."""

    name = "disk"
    severity = "critical"
    why = "Little room is left where the journal is written; without it trading stops."
    advice = "make room now, or move the state directory (--state)"


def disk_reading(subject: str, free_bytes: int, settings: AlertSettings) -> Reading:
    """Hold the room that is left against what must be; over again when a tenth more than that is free."""
    bound = settings.disk_free_mb * 1_000_000
    clear = free_bytes * settings.clear_pct >= bound * 100
    return Reading(
        subject=subject,
        breached=True if free_bytes < bound else False if clear else None,
        words=lambda: (f"{free_bytes / 1e6:.0f} MB free", f"{settings.disk_free_mb} MB"),
    )


class JournalFailed(Told):
    """The journal cannot be written."""

    name = "journal"
    severity = "critical"
    why = "The journal cannot be written: the process has stopped, and nothing is sent any more."
    advice = "make room or mend the disk, then give the same command again; what the journal has is safe"


class Stopped(Told):
    """The process ended by an error."""

    name = "stopped"
    severity = "critical"
    why = "The process ended by an error; positions keep their stops at the broker."
    advice = "read its last lines, then give the same command again: it reconciles with the broker first"


RULES: tuple[type[Rule], ...] = (
    Connection,
    Halted,
    UnknownOutcome,
    ClockApart,
    ClockStepped,
    DiskFull,
    JournalFailed,
    Stopped,
)

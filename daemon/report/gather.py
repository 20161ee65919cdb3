"""From journals to a report's figures: which runs belong together, which time is meant, and one pass over all of it."""

import contextlib
import difflib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from bus.calendar import NEW_YORK, to_datetime, to_ns, trading_day
from bus.errors import ConfigError, DataError
from bus.messages import AnyMessage, RunStarted
from bus.values import NS_PER_HOUR
from daemon.audit import Audit, audit
from daemon.journal import read, segments
from daemon.nightly import FOLDER, bounds_of
from daemon.parity import Parity
from daemon.report.timeline import Scene, Timeline
from daemon.state import Run, State
from risk.adherence.records import Trade
from risk.adherence.rolled import Rollup
from risk.adherence.rollup import Roll

_RECORD_BYTES = 180
"""About what a record takes on disk; for the progress bar alone."""

SUGGESTED = 5


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which time a report is about: `kind` is daily, weekly or monthly, `key` as in the roll-up."""

    kind: str
    key: str
    from_ns: int
    to_ns: int


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report of some journals is made of."""

    runs: tuple[str, ...]
    mode: str
    roll: Roll
    timeline: Timeline
    parities: tuple[tuple[str, Parity], ...]
    audits: tuple[tuple[str, Audit], ...]

    def of(self, span: Span | None) -> tuple[Rollup, Scene]:
        """The figures of a time; None = of everything.

        Raises:
            ConfigError: nothing of it is in the journals.
        """
        if span is None:
            return self.roll.result(), self.timeline.scene()
        rollup = self.roll.result(span.from_ns, span.to_ns)
        if not rollup.days:
            there = self.roll.result().days
            held = f"they hold {there[0].key} to {there[-1].key}" if there else "they hold no trading day"
            raise ConfigError(f"runs {', '.join(self.runs)} have nothing of {span.key}; {held}")
        return rollup, self.timeline.scene(span.from_ns, span.to_ns)


def runs_together(state: State, last: Run) -> list[Run]:
    """A run with those before it that traded in its mode; a paper run stands alone, its account begins with it."""
    started = _started(last)
    if started is None or started.mode == "paper":
        return [last]
    together = [last]
    for run in reversed([run for run in state.runs() if run.name < last.name and run.journal.is_dir()]):
        before = _started(run)
        if before is not None and before.mode == started.mode and before.currency == started.currency:
            together.insert(0, run)
    return together


def _started(run: Run) -> RunStarted | None:
    first = next(iter(read(run.journal)), None)
    return first.message if first is not None and isinstance(first.message, RunStarted) else None


def gather(runs: Sequence[Run], tell: Callable[[str, float], None], *, audited: bool = False) -> Gathered:
    """Go through the journals once, oldest first.

    Args:
        runs: whose journals.
        tell: is told the run and the share that is done, 0 to 1.
        audited: add up positions and money once more and compare with a core that replays each journal.

    Raises:
        DataError: a journal cannot be read, or accounts count in different currencies.
    """
    roll, timeline = Roll(), Timeline()
    sizes = [sum(path.stat().st_size for path in segments(run.journal)) for run in runs]
    whole, done, mode = max(1, sum(sizes)), 0, ""
    for run, size in zip(runs, sizes, strict=True):
        for record in read(run.journal):
            message: AnyMessage = record.message
            roll.add(record.seq, message)
            timeline.add(message, roll.ledger)
            if isinstance(message, RunStarted):
                mode = message.mode
            if record.seq % 5_000 == 0:
                tell(f"run {run.name}", (done + min(size, record.seq * _RECORD_BYTES)) / whole)
        done += size
        tell(f"run {run.name}", done / whole)
    return Gathered(
        runs=tuple(run.name for run in runs),
        mode=mode,
        roll=roll,
        timeline=timeline,
        parities=tuple(each for run in runs for each in _parities(run)),
        audits=tuple((run.name, audit(read(run.journal), None)) for run in runs) if audited else (),
    )


def _parities(run: Run) -> list[tuple[str, Parity]]:
    """What nights have written beside the journal, by name; what cannot be read is none."""
    found: list[tuple[str, Parity]] = []
    for path in sorted((run.folder / FOLDER).glob("*.json")):
        try:
            found.append((path.stem, msgspec.json.decode(path.read_bytes(), type=Parity)))
        except msgspec.MsgspecError as error:
            raise DataError(f"{path}: no result of `plimsoll parity` ({error}); write it again or remove it") from None
    return found


# --- which time --------------------------------------------------------------------------------------------------


def span_of(kind: str, wanted: str | None, last_ns: int) -> Span:
    """The trading day, week or month that is meant.

    Args:
        kind: daily, weekly or monthly.
        wanted: a date in it, ``2018-W18``, ``2018-05``, or ``last`` = the newest that has ended; None = the one that
            the journals end in.
        last_ns: the journals' last moment.

    Raises:
        ConfigError: none of these.
    """
    day = _day_of(kind, wanted, last_ns)
    if kind == "daily":
        first, until = day, day + timedelta(days=1)
        key = day.isoformat()
    elif kind == "weekly":
        first = day - timedelta(days=day.weekday())
        until = first + timedelta(days=7)
        year, week, _ = first.isocalendar()
        key = f"{year}-W{week:02d}"
    else:
        first = day.replace(day=1)
        until = (first + timedelta(days=32)).replace(day=1)
        key = f"{first:%Y-%m}"
    return Span(kind=kind, key=key, from_ns=_begins_ns(first), to_ns=_begins_ns(until))


def _begins_ns(day: date) -> int:
    """When the trading day that ends on a date begins: 17:00 New York on the date before, whatever the season."""
    before = day - timedelta(days=1)
    return to_ns(datetime(before.year, before.month, before.day, 17, tzinfo=NEW_YORK).astimezone(UTC))


def _day_of(kind: str, wanted: str | None, last_ns: int) -> date:
    if wanted is None:
        return date.fromordinal(trading_day(last_ns))
    if wanted == "last":
        ended = date.fromordinal(trading_day(bounds_of("last", last_ns)[0]))
        if kind == "daily":
            return ended
        span = span_of(kind, ended.isoformat(), last_ns)
        if span.to_ns <= last_ns:
            return ended
        return date.fromordinal(trading_day(span.from_ns - NS_PER_HOUR))
    week = re.fullmatch(r"(\d{4})-W(\d{2})", wanted)
    month = re.fullmatch(r"(\d{4})-(\d{2})", wanted)
    with contextlib.suppress(ValueError):  # a thirteenth month
        if week and kind == "weekly":
            return date.fromisocalendar(int(week[1]), int(week[2]), 1)
        if month and kind == "monthly":
            return date(int(month[1]), int(month[2]), 1)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", wanted):
            return date.fromisoformat(wanted)
    also = {"weekly": ", 2018-W18", "monthly": ", 2018-05"}.get(kind, "")
    raise ConfigError(f"--date {wanted!r} is no date; write one as 2018-05-01{also}, or last")


# --- which trade -------------------------------------------------------------------------------------------------


def trade_of(rollup: Rollup, wanted: str) -> Trade:
    """The trade with a number, or with the id of its position, order, intent or forecast request.

    Raises:
        ConfigError: none, or more than one; names those that are meant perhaps.
    """
    names = [(name, trade) for trade in rollup.trades for name in _names(trade) if name]
    found = {id(trade): trade for name, trade in names if name == wanted}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        which = ", ".join(
            f"{trade.position_id} ({to_datetime(trade.ts_open_ns):%Y-%m-%d %H:%M})" for trade in found.values()
        )
        raise ConfigError(f"trade {wanted!r} may be {which}; give its position, or one run with --run")
    if not rollup.trades:
        raise ConfigError(f"no trade {wanted!r}: these runs made none")
    close = difflib.get_close_matches(wanted, [name for name, _ in names], SUGGESTED, 0.6)
    meant = close or [str(trade.number) for trade in rollup.trades[-SUGGESTED:]]
    what = "did you mean" if close else "the newest are"
    raise ConfigError(f"no trade {wanted!r} in these runs ({len(rollup.trades)} trades); {what} {', '.join(meant)}")


def _names(trade: Trade) -> tuple[str, ...]:
    return (str(trade.number), trade.position_id, trade.client_order_id, trade.intent_id, trade.request_id)


def messages_of(runs: Sequence[Run], trade: Trade) -> list[AnyMessage]:
    """Every message that names a trade's position, or an order, intent or forecast behind it, in order."""
    known = {name for name in _names(trade)[1:] if name}
    found: list[AnyMessage] = []
    for run in runs:
        for record in read(run.journal):
            message = record.message
            named = {getattr(message, key, "") for key in ("position_id", "client_order_id", "intent_id", "request_id")}
            if not named & known:
                continue
            if getattr(message, "position_id", "") == trade.position_id:
                # An exit has an intent and an order of its own.
                known |= {getattr(message, key, "") for key in ("client_order_id", "intent_id")} - {""}
            found.append(message)
    return found

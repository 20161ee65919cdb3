"""Calendars of news as files: CSV and ICS (RFC 5545). Pure parsing; every mistake names its line and what to write.

CSV: a header line, then one event a line. Columns by name, in any order, others are left alone: ``time`` (ISO 8601,
with or without offset) or ``date`` and ``time``; ``currency`` (three capitals); ``impact`` (low, medium, high, or 1 to
3); ``title``, which may be missing. Times without an offset are in the zone given.

ICS: every VEVENT with a time (``Z``, a TZID that is an IANA name, or floating: then in the zone given). The currency is
X-CURRENCY, or the first three capitals that stand alone in CATEGORIES or SUMMARY; the impact X-IMPACT, a word in
CATEGORIES or SUMMARY, or PRIORITY (1 to 4 high, 5 medium, 6 to 9 low). Where nothing says it, it is high. Events that
last all day have no time and are left out; what repeats by rule is refused, since it is not worked out here.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path

from bus.calendar import named_zone, to_ns
from bus.errors import DataError
from bus.messages import NewsEvent

LARGEST_FILE_BYTES = 5_000_000
MOST_EVENTS = 20_000
_IMPACTS = {"low": 1, "medium": 2, "high": 3, "1": 1, "2": 2, "3": 3}
_CURRENCY = re.compile(r"(?<![A-Za-z])([A-Z]{3})(?![A-Za-z])")


def read_calendar(path: Path, zone: str) -> tuple[NewsEvent, ...]:
    """Every event of a calendar, in order of time.

    Args:
        path: a file; what begins with ``BEGIN:VCALENDAR`` is ICS, everything else CSV.
        zone: IANA zone of times that do not name one.

    Raises:
        DataError: it cannot be read, or something in it is no event; with the file, the line and what to write.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise DataError(f"{path}: more than {LARGEST_FILE_BYTES} bytes; is it a calendar?")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no UTF-8 text (byte {error.start}); save it as UTF-8") from None
    found = _ics(text, zone) if text.lstrip().upper().startswith("BEGIN:VCALENDAR") else _csv(text, zone)
    try:
        events = list(islice(found, MOST_EVENTS + 1))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if len(events) > MOST_EVENTS:
        raise DataError(f"{path}: more than {MOST_EVENTS} events; leave out the past")
    if not events:
        raise DataError(f"{path}: no event in it; a CSV begins with a line such as time,currency,impact,title")
    return tuple(sorted(events, key=lambda event: (event.ts_ns, event.currency, event.title)))


def _moment(text: str, zone: tzinfo, line: int) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"line {line}: {text[:40]!r} is no time; write for instance 2024-05-01T12:30:00Z") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return to_ns(moment.astimezone(UTC))


def _event(ts_ns: int, currency: str, impact: str, title: str, line: int) -> NewsEvent:
    if not re.fullmatch("[A-Z]{3}", currency):
        raise DataError(f"line {line}: {currency[:20]!r} is no currency; write three capitals such as USD")
    rank = _IMPACTS.get(impact.lower())
    if rank is None:
        raise DataError(f"line {line}: {impact[:20]!r} is no impact; write low, medium or high")
    return NewsEvent(ts_ns=ts_ns, currency=currency, impact=rank, title=title[:120])


# --- CSV -------------------------------------------------------------------------------------------------------


def _csv(text: str, zone: str) -> Iterator[NewsEvent]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    places: Mapping[str, int] | None = None
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if places is None:
                places = {name.lower(): at for at, name in enumerate(cells)}
                missing = [name for name in ("time", "currency", "impact") if name not in places]
                if missing:
                    raise DataError(
                        f"line {rows.line_num}: no column {missing[0]!r}; begin with time,currency,impact,title"
                    )
                continue
            yield _row(cells, places, zone, rows.line_num)
    except csv.Error as error:
        raise DataError(f"line {rows.line_num}: no CSV: {error}") from None


def _row(cells: list[str], places: Mapping[str, int], zone: str, line: int) -> NewsEvent:
    values = {name: cells[at] if at < len(cells) else "" for name, at in places.items()}
    date = values.get("date", "")
    when = f"{date} {values['time']}" if date else values["time"]
    if not date and "T" not in when.upper() and " " not in when:
        raise DataError(f"line {line}: {when[:40]!r} has no day or no hour; write for instance 2024-05-01T12:30:00Z")
    ts_ns = _moment(when, named_zone(zone), line)
    return _event(ts_ns, values["currency"], values["impact"], values.get("title", ""), line)


# --- ICS -------------------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Content lines, unfolded, with the number of their first line."""
    number, held = 0, ""
    for at, line in enumerate(text.splitlines(), 1):
        if line[:1] in {" ", "\t"} and held:
            held += line[1:]
            continue
        if held:
            yield number, held
        number, held = at, line
    if held:
        yield number, held


def _ics(text: str, zone: str) -> Iterator[NewsEvent]:
    properties: dict[str, tuple[int, str, str]] | None = None
    begun = 0
    for line, content in _lines(text):
        head, _, value = content.partition(":")
        name, _, parameters = head.upper().partition(";")
        if name == "BEGIN" and value.upper() == "VEVENT":
            properties, begun = {}, line
        elif name == "END" and value.upper() == "VEVENT":
            if properties is None:
                raise DataError(f"line {line}: END:VEVENT without its BEGIN")
            event = _vevent(properties, zone, begun)
            if event is not None:
                yield event
            properties = None
        elif properties is not None:
            properties.setdefault(name, (line, head[len(name) + 1 :] if parameters else "", value))
    if properties is not None:
        raise DataError(f"line {begun}: an event that does not end; is the file cut short?")


def _vevent(properties: Mapping[str, tuple[int, str, str]], zone: str, begun: int) -> NewsEvent | None:
    for name in ("RRULE", "RDATE"):
        if name in properties:
            raise DataError(f"line {properties[name][0]}: events that repeat are not worked out; export single events")
    if "DTSTART" not in properties:
        raise DataError(f"line {begun}: an event without DTSTART")
    line, parameters, value = properties["DTSTART"]
    if re.fullmatch(r"\d{8}", value):
        return None  # it lasts all day
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(Z?)", value)
    if match is None:
        raise DataError(f"line {line}: {value[:40]!r} is no time; write for instance 20240501T123000Z")
    tzid = re.search(r"TZID=\"?([^\";:]+)", parameters, re.IGNORECASE)
    try:
        where = UTC if match[7] else named_zone(tzid[1] if tzid else zone)
    except DataError as error:
        raise DataError(f"line {line}: {error}") from None
    date, clock = "-".join(match.group(1, 2, 3)), ":".join(match.group(4, 5, 6))
    ts_ns = _moment(f"{date}T{clock}", where, line)

    def text_of(name: str) -> str:
        return re.sub(r"\\([,;\\nN])", lambda at: " " if at[1] in "nN" else at[1], properties.get(name, (0, "", ""))[2])

    words = f"{text_of('CATEGORIES')} {text_of('SUMMARY')}"
    stated = text_of("X-CURRENCY") or next(iter(_CURRENCY.findall(words)), "")
    if not stated:
        raise DataError(f"line {begun}: no currency in CATEGORIES or SUMMARY; write for instance SUMMARY:USD Payrolls")
    return _event(ts_ns, stated, text_of("X-IMPACT") or _rank(words, text_of("PRIORITY")), text_of("SUMMARY"), begun)


def _rank(words: str, priority: str) -> str:
    stated = re.search(r"\b(low|medium|high)\b", words, re.IGNORECASE)
    if stated is not None:
        return stated[1]
    if re.fullmatch("[1-9]", priority):
        return "high" if priority < "5" else "medium" if priority == "5" else "low"
    return "high"

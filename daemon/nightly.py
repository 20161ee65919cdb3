"""The nightly comparison: the trading day that has ended, run again and written beside its journal.

Called by the command line and by the timer (systemd/plimsoll-parity@.timer). It reads a journal that may still be
written to, and nothing else of a running daemon.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from bus.calendar import NEW_YORK, market_open, next_rollover_ns, to_ns, trading_day
from bus.errors import ConfigError
from bus.messages import Forecast, ForecastMissed, ForecastRequested
from bus.values import NS_PER_HOUR
from daemon.answers import Answer, as_written
from daemon.journal import Record
from daemon.parity import Parity, parity
from daemon.rerun import requests_of
from daemon.state import Run, State, write_durably
from daemon.swaprecord import members_of, serving
from models.registry import Registry
from models.serve import Service
from models.signing import Trust

FOLDER = "parity"
_LONGEST_DAY_NS = 26 * NS_PER_HOUR


def bounds_of(day: str, now_ns: int) -> tuple[int, int]:
    """Begin and end of a trading day (17:00 to 17:00 New York), UTC nanoseconds.

    Args:
        day: the date on which it ends, as ``2018-05-01``; or ``last``, the newest that has ended and was no weekend's.
        now_ns: what ``last`` counts from.

    Raises:
        ConfigError: no date.
    """
    if day == "last":
        end_ns = next_rollover_ns(now_ns - _LONGEST_DAY_NS)
        while next_rollover_ns(end_ns) <= now_ns:
            end_ns = next_rollover_ns(end_ns)
        while not market_open(end_ns - 1, "fx"):
            end_ns = next_rollover_ns(end_ns - _LONGEST_DAY_NS)
    else:
        try:
            wanted = date.fromisoformat(day)
        except ValueError:
            raise ConfigError(f"--day {day!r} is no date; write one as 2018-05-01, or last") from None
        end_ns = to_ns(_rollover(wanted))
    return next_rollover_ns(end_ns - _LONGEST_DAY_NS), end_ns


def _rollover(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 17, tzinfo=NEW_YORK).astimezone(UTC)


def name_of(from_ns: int) -> str:
    """The name of the trading day that begins at a moment: the date on which it ends."""
    return date.fromordinal(trading_day(from_ns)).isoformat()


def check_day(
    records: Sequence[Record],
    bounds: tuple[int, int] | None,
    answers: Mapping[str, Sequence[Answer]] | None = None,
) -> Parity:
    """Run a day of a journal again and compare; the whole journal where no bounds are given.

    Raises:
        ConfigError: the journal has nothing of that day.
    """
    from_ns, until_ns = bounds or (0, 2**63 - 1)
    return parity(records, from_ns=from_ns, until_ns=until_ns, answers=answers)


def write_result(run: Run, name: str, found: Parity) -> Path:
    """Write what was found into the run's folder, replacing what an earlier night wrote."""
    folder = run.folder / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}.json"
    write_durably(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return path


def other_answers(
    records: Sequence[Record],
    bounds: tuple[int, int] | None,
    state: State,
    trust: Trust | None,
    note: Callable[[str], None],
) -> dict[str, list[Answer]]:
    """Ask the run's models again for every forecast of the time; gives the answers that are not the recorded ones.

    Args:
        records: the journal.
        bounds: of the time; None = all of it.
        state: has the registry of models.
        trust: whose signatures count; None = unsigned ones do as well.
        note: is told which model cannot be read.
    """
    from_ns, until_ns = bounds or (0, 2**63 - 1)
    messages = [record.message for record in records]
    requests = requests_of(records, from_ns, until_ns)
    if not requests:
        return {}
    artifacts = serving(Registry(state.models, trust), members_of(messages), requests[0].period_ns, note)
    said: dict[str, dict[str, Forecast]] = {}
    missing: set[tuple[str, str]] = set()
    for message in messages:
        if isinstance(message, Forecast):
            said.setdefault(message.request_id, {})[message.model_id] = message
        elif isinstance(message, ForecastMissed):
            missing.add((message.request_id, message.model_id))
    service = Service(artifacts)
    found: dict[str, list[Answer]] = {}
    for request in requests:
        other = _other(service, request, said.get(request.request_id, {}), missing)
        if other:
            found[request.request_id] = other
    return found


def _other(
    service: Service, request: ForecastRequested, said: Mapping[str, Forecast], missing: set[tuple[str, str]]
) -> list[Answer]:
    """All answers to a request, where one is not what was said; otherwise none.

    A model that was not asked then counts for nothing, and one that cannot be asked now said what it said.
    """
    given = [as_written(each) for each in service.answer(request)]
    now = {each.model_id: each for each in given if isinstance(each, Forecast)}
    changed = [name for name, each in now.items() if name in said and each.horizons != said[name].horizons]
    new = [
        name
        for name in now
        if name not in said and ((request.request_id, name) in missing or (request.request_id, "") in missing)
    ]
    if not changed and not new:
        return []
    asked = [each for each in given if not isinstance(each, Forecast) or each.model_id in said or each.model_id in new]
    return [*asked, *(each for name, each in said.items() if name not in now)]

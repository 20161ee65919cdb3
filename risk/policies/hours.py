"""``[risk.hours]``: when entries may be made at all."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

from bus.calendar import named_zone
from bus.errors import ConfigError, DataError
from risk.policies.keys import Group, Key, check_keys

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MIN, _WEEK_MIN = 1_440, 10_080
_SESSION = re.compile(r"([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))? (\d\d):(\d\d)-(\d\d):(\d\d)")


@lru_cache(maxsize=256)
def intervals(sessions: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Sessions as minutes since Monday 00:00: first included, last excluded; one over Sunday night is two.

    Raises:
        ConfigError: what is no session, and how one looks.
    """
    found: list[tuple[int, int]] = []
    for session in sessions:
        match = _SESSION.fullmatch(session)
        days = match and [_DAYS.index(name) if name in _DAYS else -1 for name in (match[1], match[2] or match[1])]
        begin, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (3, 5)) if match else (0, 0)
        minutes = match and max(int(match[4]), int(match[6])) < 60 and begin < _DAY_MIN and end <= _DAY_MIN
        if not days or -1 in days or not minutes or begin == end:
            raise ConfigError(
                f"{session!r} is no session; write for instance 'Mon-Fri 08:00-17:30' or 'Sun 22:00-02:00'"
            )
        for day in range((days[1] - days[0]) % 7 + 1):
            first = (days[0] + day) % 7 * _DAY_MIN + begin
            last = first + (end - begin) % _DAY_MIN if end != _DAY_MIN else first + _DAY_MIN - begin
            found.append((first, min(last, _WEEK_MIN)))
            if last > _WEEK_MIN:
                found.append((0, last - _WEEK_MIN))
    return tuple(found)


class Hours(Group, frozen=True, kw_only=True):
    """Session hours, the minutes around the broker's rollover, and the weekend.

    The weekend and the rollover are the broker's (17:00 New York) and concern symbols that keep its week; those that
    trade always have neither.

    Attributes:
        zone: IANA zone on whose clocks `sessions` are written.
        sessions: when entries may be made, for instance ``Mon-Fri 08:00-17:30``; the end may lie on the next day.
            Empty = at any time.
    """

    SECTION: ClassVar[str] = "risk.hours"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "rollover_before_min": Key(
            0, 1_439, "none", 5, "minutes", "No entries in so many minutes before 17:00 New York.", "higher"
        ),
        "rollover_after_min": Key(
            0, 1_439, "none", 30, "minutes", "No entries in so many minutes after 17:00 New York.", "higher"
        ),
        "weekend_entries_min": Key(
            0, 7_199, "none", 60, "minutes", "No entries in so many minutes before the week ends.", "higher"
        ),
        "weekend_flat_min": Key(
            0, 7_199, "off", 15, "minutes", "So many minutes before the week ends everything is closed.", "higher"
        ),
        "week_open_min": Key(
            0, 7_199, "none", 60, "minutes", "No entries in so many minutes after the week begins.", "higher"
        ),
    }

    WORDS: ClassVar[Mapping[str, str]] = {
        "zone": "IANA zone on whose clocks the sessions are written.",
        "sessions": "When entries may be made, such as 'Mon-Fri 08:00-17:30'; empty = at any time.",
    }

    zone: str = "America/New_York"
    sessions: tuple[str, ...] = ()
    rollover_before_min: int = 0
    rollover_after_min: int = 0
    weekend_entries_min: int = 0
    weekend_flat_min: int = 0
    week_open_min: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values, a zone that nobody keeps, and what is no session."""
        check_keys(self, self.SECTION, self.KEYS)
        try:
            named_zone(self.zone)
        except DataError as error:
            raise ConfigError(f"{self.SECTION}.zone = {self.zone!r}: {error}") from None
        try:
            intervals(self.sessions)
        except ConfigError as error:
            raise ConfigError(f"{self.SECTION}.sessions: {error}") from None

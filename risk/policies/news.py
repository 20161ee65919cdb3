"""``[risk.news]``: no entries around what moves prices."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from bus.calendar import named_zone
from bus.errors import ConfigError, DataError
from risk.policies.keys import Group, Key, check_keys

IMPACTS = ("low", "medium", "high")


class News(Group, frozen=True, kw_only=True):
    """The blackout around events of a calendar. An event concerns the symbols whose base or quote is its currency.

    Attributes:
        file: the calendar, CSV or ICS; empty = none. Its events are told to the core and stand in the journal, so that
            a replay needs no file.
        zone: IANA zone of times that do not name one.
        impact: the smallest that counts: low, medium or high.
        currencies: that count; empty = all.
    """

    SECTION: ClassVar[str] = "risk.news"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "before_min": Key(0, 10_080, "none", 15, "minutes", "No entries in so many minutes before an event.", "higher"),
        "after_min": Key(0, 10_080, "none", 15, "minutes", "No entries in so many minutes after an event.", "higher"),
        "runs_out_days": Key(
            0, 3_650, "never", 8, "days", "No entries once the calendar's last event is older than this: it ran out."
        ),
    }

    WORDS: ClassVar[Mapping[str, str]] = {
        "file": "The calendar, CSV or ICS; empty = none.",
        "zone": "IANA zone of times in it that do not name one.",
        "impact": "The smallest that counts: low, medium or high.",
        "currencies": "Those that count; empty = all.",
    }

    file: str = ""
    zone: str = "UTC"
    impact: Literal["low", "medium", "high"] = "high"
    currencies: tuple[str, ...] = ()
    before_min: int = 0
    after_min: int = 0
    runs_out_days: int = 8

    def __post_init__(self) -> None:
        """Refuse impossible values, and a blackout that nothing could begin."""
        check_keys(self, self.SECTION, self.KEYS)
        if (self.before_min or self.after_min) and not self.file:
            raise ConfigError(
                f"{self.SECTION}.file is empty, so before_min and after_min would do nothing; name a calendar (CSV or "
                "ICS), or write 0 for both"
            )
        try:
            named_zone(self.zone)
        except DataError as error:
            raise ConfigError(f"{self.SECTION}.zone = {self.zone!r}: {error}") from None
        wrong = [name for name in self.currencies if len(name) != 3 or not name.isalpha() or not name.isupper()]
        if wrong:
            raise ConfigError(f"{self.SECTION}.currencies: {wrong[0]!r} is no currency; write for instance 'USD'")

    @property
    def on(self) -> bool:
        """Whether any moment is blacked out."""
        return bool(self.before_min or self.after_min)

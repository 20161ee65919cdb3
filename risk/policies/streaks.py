"""``[risk.streaks]``: when to pause after losing trades in a row."""

from collections.abc import Mapping
from typing import ClassVar

from risk.policies.keys import Group, Key


class Streaks(Group, frozen=True, kw_only=True):
    """Consecutive losses and the pause that follows them.

    A position counts once, when it is closed to the last unit, with all that was booked on it. A loss is below 0, a win
    above it ends the row, and exactly 0 does neither. After the pause one more loss begins the next.
    """

    SECTION: ClassVar[str] = "risk.streaks"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_consecutive_losses": Key(
            0, 10_000, "off", 5, "losing positions", "After so many losses in a row entries pause."
        ),
        "cool_down_s": Key(
            0,
            2_592_000,
            "until the next trading day",
            3_600,
            "s",
            "How long that pause is, from the last loss.",
            "higher",
        ),
    }

    max_consecutive_losses: int = 0
    cool_down_s: int = 3_600

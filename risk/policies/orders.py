"""``[risk.orders]``: what leaves, what it costs beyond its price, and how long a position may be held."""

from collections.abc import Mapping
from typing import ClassVar

from risk.policies.keys import Group, Key


class Orders(Group, frozen=True, kw_only=True):
    """Cancels a minute, the slippage budget of a day, and the longest time to hold a position.

    Slippage is spent where a fill is worse than what it was meant for: the price that the decision saw, the price of a
    resting order, the level of a stop or target. What better fills gave back does not count.
    """

    SECTION: ClassVar[str] = "risk.orders"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "max_cancels_per_minute": Key(
            0, 1_000_000, "off", 60, "cancels", "Entries are refused when this many cancels left in the last minute."
        ),
        "slippage_budget_pct_e2": Key(
            0,
            10_000,
            "off",
            20,
            "1/100 % of the day's first equity",
            "Slippage after which a day takes no more entries.",
        ),
        "max_holding_s": Key(
            0, 31_536_000, "off", 86_400, "s", "A position that is open for longer than this is closed."
        ),
    }

    max_cancels_per_minute: int = 60
    slippage_budget_pct_e2: int = 0
    max_holding_s: int = 0

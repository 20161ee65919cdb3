"""``[risk.losses]``: how far equity may fall, in the terms of firms that lend an account.

What they mean. Every floor is held against *floating* equity, at every price. *Static* drawdown: the floor lies a fixed
amount below the initial balance and never moves. *End-of-day trailing*: it lies that amount below the highest value at
which a trading day ended, and moves only then. *Intraday trailing*: it lies that amount below the highest floating
equity. The amount is a percentage of the initial balance for all three. `lock_at_initial` stops the two that trail once
they reach the initial balance. Cash in or out moves all of them with it.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from bus.calendar import named_zone
from bus.errors import ConfigError, DataError
from risk.policies.keys import Group, Key, check_keys

_SHARE = "1/100 % of the initial balance"


class Losses(Group, frozen=True, kw_only=True):
    """Losses and drawdowns that halt, besides ``risk.daily_loss_pct_e2`` and ``risk.trailing_drawdown_pct_e2``.

    Attributes:
        day_zone: IANA zone in which trading days (of losses and budgets) begin.
        day_hour: hour of that zone's clock at which they do; 17 in New York is the broker's day.
        day_from: what a day or week starts from, and what it is marked at when it ends: floating ``equity``, the closed
            ``balance``, or the ``higher`` of both.
        percent_of: of what the daily and the weekly limit are percentages: its value at the ``start``, or the
            ``initial`` balance.
        lock_at_initial: the trailing floors rise to the initial balance and no further.
    """

    SECTION: ClassVar[str] = "risk.losses"
    KEYS: ClassVar[Mapping[str, Key]] = {
        "day_hour": Key(0, 23, "", 17, "hour", "Hour of the zone's clock at which a trading day begins.", ""),
        "weekly_loss_pct_e2": Key(
            0, 10_000, "off", 600, "1/100 %", "Halts when floating equity fell this far since the trading week began."
        ),
        "static_drawdown_pct_e2": Key(
            0, 10_000, "off", 1_000, _SHARE, "Halts when floating equity lies this far below the initial balance."
        ),
        "day_end_drawdown_pct_e2": Key(
            0, 10_000, "off", 600, _SHARE, "Halts when floating equity lies this far below the highest end of a day."
        ),
        "intraday_drawdown_pct_e2": Key(
            0, 10_000, "off", 600, _SHARE, "Halts when floating equity lies this far below the highest floating equity."
        ),
        "initial_balance": Key(
            0,
            10_000_000_000,
            "the account's balance when the run began",
            100_000,
            "whole units of the account's currency",
            "What the drawdowns above are percentages of.",
            "",
        ),
        "high_water": Key(
            0,
            10_000_000_000,
            "none beyond the initial balance",
            104_000,
            "whole units of the account's currency",
            "Highest value that the trailing drawdowns knew before this run.",
            "higher",
        ),
    }

    WORDS: ClassVar[Mapping[str, str]] = {
        "day_zone": "IANA zone in which the trading days of losses and budgets begin.",
        "day_from": "What a day or week starts from and is marked at when it ends: equity, balance, or the higher.",
        "percent_of": "What the daily and the weekly limit are percentages of: their start, or the initial balance.",
        "lock_at_initial": "Whether the trailing floors stop once they reach the initial balance.",
    }

    day_zone: str = "America/New_York"
    day_hour: int = 17
    day_from: Literal["equity", "balance", "higher"] = "equity"
    percent_of: Literal["start", "initial"] = "start"
    weekly_loss_pct_e2: int = 0
    static_drawdown_pct_e2: int = 0
    day_end_drawdown_pct_e2: int = 0
    intraday_drawdown_pct_e2: int = 0
    lock_at_initial: bool = False
    initial_balance: int = 0
    high_water: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values, and a zone that nobody keeps."""
        check_keys(self, self.SECTION, self.KEYS)
        try:
            named_zone(self.day_zone)
        except DataError as error:
            raise ConfigError(f"{self.SECTION}.day_zone = {self.day_zone!r}: {error}") from None

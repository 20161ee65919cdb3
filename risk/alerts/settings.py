"""From where on something is an alert, with its unit in its name. What each rule watches stands in the rule's file."""

import msgspec

from bus.errors import ConfigError
from risk.policies.keys import check_bounds

_BOUNDS: dict[str, tuple[int, int, str, int]] = {
    "slippage_ppm": (0, 1_000_000, "off", 1_000),
    "slippage_pips_e1": (0, 1_000_000, "off", 20),
    "slippage_fills": (1, 10_000, "", 50),
    "slippage_from": (1, 10_000, "", 10),
    "rejected_pct": (0, 99, "", 5),
    "rejected_orders": (1, 10_000, "", 100),
    "rejected_from": (1, 10_000, "", 20),
    "limit_warning_pct": (1, 99, "", 80),
    "missed_forecasts": (1, 1_000, "", 3),
    "clock_offset_ms": (1, 3_600_000, "", 1_000),
    "disk_free_mb": (0, 1_000_000_000, "off", 1_000),
    "clear_pct": (1, 100, "", 90),
}


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules' bounds.

    Attributes:
        off: names of rules that are silent; `plimsoll alerts rules` lists what there is.
        slippage_ppm: adverse slippage of a fill, and of the mean of fills, in millionths of the price
            (1000 = 0.1 %). 0 = only `slippage_pips_e1` counts.
        slippage_pips_e1: the same in 1/10 pips; where both are set the tighter one counts. 0 = only `slippage_ppm`.
        slippage_fills: newest fills of a symbol over which the mean is taken.
        slippage_from: fewer fills than this have no mean.
        rejected_pct: more of the newest orders than this rejected by the venue.
        rejected_orders: how many newest orders count.
        rejected_from: fewer orders than this have no share.
        limit_warning_pct: how much of a limit is in use when it is told; 100 is told as well, always.
        missed_forecasts: bars in a row for which the model that trades gave no forecast.
        clock_offset_ms: how far our clock and the venue's may be apart, or ours may be set at once.
        disk_free_mb: room that must be left where the journals are, in 10**6 bytes. 0 = off.
        clear_pct: an alert is over when what it told of is at this share of its bound, or below.
    """

    off: tuple[str, ...] = ()
    slippage_ppm: int = 1_000
    slippage_pips_e1: int = 0
    slippage_fills: int = 50
    slippage_from: int = 10
    rejected_pct: int = 5
    rejected_orders: int = 100
    rejected_from: int = 20
    limit_warning_pct: int = 80
    missed_forecasts: int = 3
    clock_offset_ms: int = 1_000
    disk_free_mb: int = 1_000
    clear_pct: int = 90

    def __post_init__(self) -> None:
        """Refuse impossible values at construction and at decoding alike."""
        self.check()

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: naming the key, the reason, and what to write instead.
        """
        check_bounds(self, "alerts", _BOUNDS)
        for fewest, window in (("slippage_from", "slippage_fills"), ("rejected_from", "rejected_orders")):
            low, high = getattr(self, fewest), getattr(self, window)
            if low > high:
                raise ConfigError(f"alerts.{fewest} = {low}: more than alerts.{window} = {high}; write at most {high}")

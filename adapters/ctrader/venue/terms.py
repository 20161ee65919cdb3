"""What the broker says of a symbol beyond its `Instrument`: charges, swaps, distances, hours, leverage.

Left alone, a symbol is charged as its instrument says, and the catalogue tells the same in the wire's units. With terms
of its own it can be charged in each of the ways that the protocol knows, so that a client's arithmetic can be held
against a broker's. Formulas are those of the reference, sections 4.2 to 4.7.
"""

import msgspec

USD_PER_MILLION, USD_PER_LOT, PERCENTAGE, QUOTE_PER_LOT = 1, 2, 3, 4
PIPS, SHARE, POINTS = 0, 1, 2
ENABLED, FROZEN, DISABLED, CLOSE_ONLY = 0, 1, 2, 3
MAX, SUM, NET = 0, 1, 2
DAY_S = 86_400


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """Commission of one side of a deal.

    `rate` is times 10**8, for PERCENTAGE the percentage times 10**5. `minimum` of a deal is times 10**8 in
    `minimum_asset`; an empty one is the symbol's quote asset.
    """

    kind: int
    rate: int
    minimum: int = 0
    minimum_asset: str = "USD"


class Swap(msgspec.Struct, frozen=True, kw_only=True):
    """A night's swap: in pips or points, or as an annual percentage of value."""

    kind: int
    long: float
    short: float


class Leverage(msgspec.Struct, frozen=True, kw_only=True):
    """Dynamic leverage: tiers of (upper bound of a side's exposure in US cents, leverage), ascending.

    `hundredths`: the wire tells the leverage times 100. Nobody knows which of the two the real one does.
    """

    tiers: tuple[tuple[int, int], ...]
    hundredths: bool = False


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """A holiday: a day (since 1970-01-01, in `zone`) without trading from one second of it to another."""

    day: int
    start_s: int = 0
    end_s: int = DAY_S
    zone: str = "UTC"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of one symbol.

    Attributes:
        charge: None = `Instrument.commission_per_million_e2`.
        swap: None = the instrument's, in pips.
        fee_bp: of a realised gross result in a foreign asset, in 1/100 percent; None = the execution model's.
        stop_points: least distance of a stop loss from the price at which it would close, in points; 0 = none.
        target_points: the same for a take profit.
        guaranteed_points: the same for a guaranteed stop.
        distances_in_percent: the three are percent of the price instead.
        percent_hundredths: and told in 1/100 percent. Nobody knows which of the two the real one does.
        guaranteed: whether guaranteed stops are offered, on accounts of limited risk.
        short_selling: whether a sell may open.
        mode: ENABLED; FROZEN: nothing trades and resting orders wait; DISABLED: nothing trades, resting orders do;
            CLOSE_ONLY.
        most_exposure_e2: open volume of a side; 0 = any.
        leverage: None = the account's.
        hours: pairs of seconds since Sunday 00:00 in `zone` between which it is traded, within the
            instrument's session; empty = all of that.
        zone: of the hours.
        holidays: days without trading.
    """

    charge: Charge | None = None
    swap: Swap | None = None
    fee_bp: int | None = None
    stop_points: int = 0
    target_points: int = 0
    guaranteed_points: int = 0
    distances_in_percent: bool = False
    percent_hundredths: bool = False
    guaranteed: bool = False
    short_selling: bool = True
    mode: int = ENABLED
    most_exposure_e2: int = 0
    leverage: Leverage | None = None
    hours: tuple[tuple[int, int], ...] = ()
    zone: str = "UTC"
    holidays: tuple[Rest, ...] = ()

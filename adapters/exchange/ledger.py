"""Positions and money of one simulated account.

Theory of operation. The balance moves only when a deal closes. Until then a position carries its opening commission
and its swaps; a closing deal books the share of the closed volume, rounded half away from zero, and the last part
takes all that is left, so that over the life of a position nothing is lost or invented. The entry is kept as cost (the
sum of volume times price) and is shared out the same way. Every component is rounded once, on its own.

A venue with rules of its own for rates, charges and margin overrides what is called so here.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from bus.errors import InvariantBroken
from bus.messages import AmendProtection, PositionState, Quote
from bus.values import (
    PRICE_SCALE,
    RATE_SCALE,
    VOLUME_SCALE,
    Instrument,
    Side,
    divide_half_away,
    quote_to_account_rate_e8,
)

_VALUE_SCALE = VOLUME_SCALE * PRICE_SCALE * RATE_SCALE

Rate = int | Fraction
"""A conversion rate times 10**8. Whole here; a venue may convert more finely."""


@dataclass(slots=True, kw_only=True)
class Position:
    """One open position. `cost` is the sum of volume_e2 * price_e5 of what is open; money in smallest units."""

    position_id: str
    client_order_id: str
    instrument: Instrument
    side: Side
    ts_open_ns: int
    volume_e2: int = 0
    cost: int | Fraction = 0
    commission: int = 0
    swap: int = 0
    rate_e8: Rate = RATE_SCALE
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing_e5: int = 0
    trailed: bool = False
    guaranteed: bool = False
    protection_id: str = ""
    last_amend: AmendProtection | None = None

    def state(self) -> PositionState:
        """As the venue tells it."""
        return PositionState(
            position_id=self.position_id,
            symbol=self.instrument.symbol,
            side=self.side,
            volume_e2=self.volume_e2,
            price_e5=divide_half_away(self.cost, self.volume_e2),
            stop_loss_e5=self.stop_loss_e5,
            take_profit_e5=self.take_profit_e5,
            commission=self.commission,
            swap=self.swap,
            client_order_id=self.client_order_id,
            ts_open_ns=self.ts_open_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What one deal charges and books. Opening deals book nothing."""

    commission: int
    gross_profit: int = 0
    booked_commission: int = 0
    booked_swap: int = 0
    conversion_fee: int = 0


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Balance, positions, and the newest effective quote of each symbol, which values them."""

    currency: str
    money_digits: int
    leverage: int
    balance: int
    conversion_fee_bp: int
    instruments: tuple[Instrument, ...]
    positions: dict[str, Position] = field(default_factory=dict[str, Position])
    quotes: dict[str, Quote] = field(default_factory=dict[str, Quote])

    def rate_e8(self, instrument: Instrument) -> Rate | None:
        """Account units for one unit of the quote asset, times 10**8; None where no price links them yet."""
        if instrument.quote == self.currency:
            return RATE_SCALE
        mids_e5 = {symbol: (quote.bid_e5 + quote.ask_e5) // 2 for symbol, quote in self.quotes.items()}
        return quote_to_account_rate_e8(instrument.quote, self.currency, self.instruments, mids_e5)

    def priced(self, instrument: Instrument) -> bool:
        """Whether every price is there that valuing and charging a position in it needs."""
        return self.rate_e8(instrument) is not None

    def _known_rate_e8(self, instrument: Instrument) -> Rate:
        rate = self.rate_e8(instrument)
        if rate is None:
            # A position opens only where a rate exists, and a price once seen is never forgotten.
            raise InvariantBroken(f"{instrument.symbol}: open position, but no rate to {self.currency}")
        return rate

    def commission(self, instrument: Instrument, volume_e2: int, price_e5: int, rate_e8: Rate) -> int:
        """Charge for one side of a deal, not positive."""
        # The rate is in 1/100 currency units a million of traded value: 100 * 1 000 000 below the line.
        return -divide_half_away(
            volume_e2 * price_e5 * rate_e8 * instrument.commission_per_million_e2 * 10**self.money_digits,
            _VALUE_SCALE * 100_000_000,
        )

    def open(self, position: Position, volume_e2: int, price_e5: int) -> Booked:
        """Add volume to a position; the balance does not move."""
        rate_e8 = self._known_rate_e8(position.instrument)
        commission = self.commission(position.instrument, volume_e2, price_e5, rate_e8)
        position.volume_e2 += volume_e2
        position.cost += volume_e2 * price_e5
        position.commission += commission
        position.rate_e8 = rate_e8
        self.positions[position.position_id] = position
        return Booked(commission=commission)

    def close(self, position: Position, volume_e2: int, price_e5: int) -> Booked:
        """Close (part of) a position and book the result to the balance.

        Raises:
            InvariantBroken: more than the position holds.
        """
        whole_e2 = position.volume_e2
        if not 0 < volume_e2 <= whole_e2:
            raise InvariantBroken(f"position {position.position_id} holds {whole_e2}, asked to close {volume_e2}")
        rate_e8 = self._known_rate_e8(position.instrument)
        cost = self.cost_share(position.cost, volume_e2, whole_e2)
        gross = divide_half_away(
            position.side * (volume_e2 * price_e5 - cost) * rate_e8 * 10**self.money_digits, _VALUE_SCALE
        )
        closing = self.commission(position.instrument, volume_e2, price_e5, rate_e8)
        opening = _share(position.commission, volume_e2, whole_e2)
        swap = _share(position.swap, volume_e2, whole_e2)
        fee = self.fee(position.instrument, gross)
        position.volume_e2 -= volume_e2
        position.cost -= cost
        position.commission -= opening
        position.swap -= swap
        self.balance += gross + opening + closing + swap + fee
        if position.volume_e2 == 0:
            del self.positions[position.position_id]
        return Booked(
            commission=closing,
            gross_profit=gross,
            booked_commission=opening + closing,
            booked_swap=swap,
            conversion_fee=fee,
        )

    def cost_share(self, cost: int | Fraction, part_e2: int, whole_e2: int) -> int | Fraction:
        """What a part of a position cost."""
        return divide_half_away(cost * part_e2, whole_e2)

    def fee(self, instrument: Instrument, gross: int) -> int:
        """Charge for converting a gross result into the account's currency, not positive."""
        foreign = instrument.quote != self.currency
        return -divide_half_away(abs(gross) * self.conversion_fee_bp, 10_000) if foreign else 0

    def charge_swap(self, position: Position, nights: int) -> int:
        """Add swap for a number of nights to a position; gives the amount, positive = credit."""
        amount = self.swap(position, nights)
        position.swap += amount
        return amount

    def swap(self, position: Position, nights: int) -> int:
        """Swap of a number of nights: volume x millipips/1000 x pip x rate x nights."""
        instrument = position.instrument
        millipips = instrument.swap_long_millipips if position.side > 0 else instrument.swap_short_millipips
        return divide_half_away(
            position.volume_e2
            * millipips
            * instrument.pip_e5
            * self._known_rate_e8(instrument)
            * nights
            * 10**self.money_digits,
            _VALUE_SCALE * 1_000,
        )

    def net_profit(self, position: Position) -> int:
        """Floating result at the closing side of the market, with opening commission and swap, no closing charges."""
        quote = self.quotes[position.instrument.symbol]
        price_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
        rate_e8 = self._known_rate_e8(position.instrument)
        value = position.side * (position.volume_e2 * price_e5 - position.cost) * rate_e8 * 10**self.money_digits
        return divide_half_away(value, _VALUE_SCALE) + position.commission + position.swap

    def equity(self) -> int:
        """Balance and all floating results."""
        return self.balance + sum(self.net_profit(position) for position in self.positions.values())

    def margin(self, instrument: Instrument, cost: int | Fraction, rate_e8: Rate) -> int:
        """Margin of an exposure (sum of volume_e2 * price_e5) at the smaller of account and symbol leverage."""
        leverage = min(self.leverage, instrument.leverage) if instrument.leverage else self.leverage
        return divide_half_away(cost * rate_e8 * 10**self.money_digits, _VALUE_SCALE * leverage)

    def margins(self) -> dict[str, int]:
        """Margin of every position by its id, each at its opening price."""
        return {
            number: self.margin(position.instrument, position.cost, position.rate_e8)
            for number, position in self.positions.items()
        }

    def opening_margin(self, instrument: Instrument, side: Side, volume_e2: int, price_e5: int, rate_e8: Rate) -> int:
        """Margin that opening so much more at a price would take."""
        del side
        return self.margin(instrument, volume_e2 * price_e5, rate_e8)

    def used_margin(self, symbol: str = "", side: Side = Side.BUY, added: int = 0, *, flips: bool = False) -> int:
        """Margin in use: that of the two sides of each symbol, combined.

        Args:
            symbol: where to suppose further exposure; empty = nowhere.
            side: of that exposure.
            added: its margin.
            flips: the positions of the other side in that symbol would be closed first.
        """
        sides: dict[str, list[int]] = {}
        for number, margin in self.margins().items():
            position = self.positions[number]
            held = sides.setdefault(position.instrument.symbol, [0, 0])
            held[position.side < 0] += margin
        if symbol:
            held = sides.setdefault(symbol, [0, 0])
            held[side < 0] += added
            if flips:
                held[side > 0] = 0
        return sum(self.combined(long, short) for long, short in sides.values())

    def combined(self, long: int, short: int) -> int:
        """Margin of both sides of one symbol together: the larger (cTrader's MAX)."""
        return max(long, short)


def _share(total: int, part: int, whole: int) -> int:
    """The share of a part, half away from zero. The last part (part == whole) takes exactly what is left."""
    return divide_half_away(total * part, whole)

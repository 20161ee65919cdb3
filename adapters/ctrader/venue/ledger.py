"""Money as this broker counts it: rates along the chain that it tells, charges and margin by each symbol's terms.

Theory of operation. The exchange's ledger moves the money; this one says how much. Rates are exact fractions of the
newest prices (bid, middle or ask of every symbol of the chain; which one the real server takes is not known), so that
nothing is rounded before the last step. With dynamic leverage the margin of a side is that of its whole exposure, tier
by tier; its positions share it in the order of opening, so when an older one closes, the margin of the younger ones
changes.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from adapters.ctrader.venue.specs import Catalogue, Symbol
from adapters.ctrader.venue.terms import NET, PERCENTAGE, PIPS, SHARE, SUM, USD_PER_LOT, USD_PER_MILLION
from adapters.exchange.ledger import Booked, Ledger, Position, Rate
from bus.errors import InvariantBroken
from bus.values import PRICE_SCALE, RATE_SCALE, VOLUME_SCALE, Instrument, Side, divide_half_away

_E8 = 10**8
_USD = "USD"


_FINE = 1 << 256


def fine_share(cost: int | Fraction, part_e2: int, whole_e2: int) -> Fraction:
    """What a part of a position cost: exact, but for fractions of more than 77 digits, which would grow without end."""
    share = Fraction(cost) * part_e2 / whole_e2
    return share if share.denominator <= _FINE else Fraction(divide_half_away(share * _FINE, 1), _FINE)


@dataclass(slots=True, kw_only=True)
class BrokerLedger(Ledger):
    """The ledger of one account at this broker.

    Attributes:
        catalogue: symbols, assets, terms.
        margin_rule: how the two sides of a symbol share margin, by the wire's number.
        conversion: ``bid``, ``mid`` or ``ask``: the price at which money is converted.
        usd_rates: US dollars for one unit of the quote asset when a position was last added to, by its id.
        chains: the conversions looked up so far.
    """

    catalogue: Catalogue
    margin_rule: int = 0
    conversion: str = "mid"
    usd_rates: dict[str, Fraction] = field(default_factory=dict[str, Fraction])
    chains: dict[tuple[str, str], list[Symbol] | None] = field(
        default_factory=dict[tuple[str, str], list[Symbol] | None]
    )

    # --- rates ----------------------------------------------------------------------------------------------------

    def rate(self, first: str, last: str) -> Fraction | None:
        """Units of one asset for one of another, along the chain that clients are told; None where a price lacks."""
        if (first, last) not in self.chains:
            ends = self.catalogue.assets.get(first), self.catalogue.assets.get(last)
            self.chains[first, last] = None if None in ends else self.catalogue.chain(ends[0] or 0, ends[1] or 0)
        chain = self.chains[first, last]
        if chain is None:
            return None
        rate, held = Fraction(1), first
        for symbol in chain:
            price = self._price(symbol)
            if price is None:
                return None
            forward = held == symbol.instrument.base
            rate = rate * price if forward else rate / price
            held = symbol.instrument.quote if forward else symbol.instrument.base
        return rate

    def _price(self, symbol: Symbol) -> Fraction | None:
        quote = self.quotes.get(symbol.instrument.symbol)
        if quote is None:
            return None
        twice_e5 = {"bid": 2 * quote.bid_e5, "ask": 2 * quote.ask_e5}.get(self.conversion, quote.bid_e5 + quote.ask_e5)
        return Fraction(twice_e5, 2 * PRICE_SCALE)

    def rate_e8(self, instrument: Instrument) -> Rate | None:
        """Account units for one unit of the quote asset, times 10**8, exact."""
        if instrument.quote == self.currency:
            return RATE_SCALE
        rate = self.rate(instrument.quote, self.currency)
        return None if rate is None else rate * RATE_SCALE

    def priced(self, instrument: Instrument) -> bool:
        """Whether every price is there that the symbol's value, charges and margin need."""
        terms = self.catalogue.terms_of(instrument.symbol)
        needed, charge = [(instrument.quote, self.currency)], terms.charge
        if charge is not None and charge.kind in {USD_PER_MILLION, USD_PER_LOT}:
            needed += [(instrument.base, _USD), (_USD, self.currency)]
        if charge is not None and charge.minimum:
            needed.append((charge.minimum_asset or instrument.quote, self.currency))
        if terms.leverage is not None:
            needed.append((instrument.quote, _USD))
        return all(self.rate(first, last) is not None for first, last in needed)

    def _known_rate(self, first: str, last: str) -> Fraction:
        rate = self.rate(first, last)
        if rate is None:
            raise InvariantBroken(f"no price leads from {first} to {last}, and something is charged by it")
        return rate

    # --- charges --------------------------------------------------------------------------------------------------

    def open(self, position: Position, volume_e2: int, price_e5: int) -> Booked:
        """See `Ledger.open`."""
        self.usd_rates[position.position_id] = self.rate(position.instrument.quote, _USD) or Fraction(0)
        return Ledger.open(self, position, volume_e2, price_e5)

    def close(self, position: Position, volume_e2: int, price_e5: int) -> Booked:
        """See `Ledger.close`."""
        booked = Ledger.close(self, position, volume_e2, price_e5)
        if position.position_id not in self.positions:
            self.usd_rates.pop(position.position_id, None)
        return booked

    def commission(self, instrument: Instrument, volume_e2: int, price_e5: int, rate_e8: Rate) -> int:
        """One side of a deal by the symbol's terms: once converted and at least the minimum, it is rounded once."""
        charge = self.catalogue.terms_of(instrument.symbol).charge
        if charge is None:
            return Ledger.commission(self, instrument, volume_e2, price_e5, rate_e8)
        lots, units = Fraction(volume_e2, instrument.lot_e2), Fraction(volume_e2, VOLUME_SCALE)
        if charge.kind == USD_PER_MILLION:
            worth_usd = units * self._known_rate(instrument.base, _USD)
            amount = charge.rate * worth_usd / (_E8 * 1_000_000) * self._known_rate(_USD, self.currency)
        elif charge.kind == USD_PER_LOT:
            amount = charge.rate * lots / _E8 * self._known_rate(_USD, self.currency)
        elif charge.kind == PERCENTAGE:
            amount = charge.rate * units * price_e5 * rate_e8 / (10**7 * PRICE_SCALE * RATE_SCALE)
        else:
            amount = charge.rate * lots * rate_e8 / (_E8 * RATE_SCALE)
        if charge.minimum:
            rate = self._known_rate(charge.minimum_asset or instrument.quote, self.currency)
            amount = max(amount, charge.minimum * rate / _E8)
        return -divide_half_away(amount * 10**self.money_digits, 1)

    def cost_share(self, cost: int | Fraction, part_e2: int, whole_e2: int) -> int | Fraction:
        """See `fine_share`: the average of what is left does not move."""
        return fine_share(cost, part_e2, whole_e2)

    def fee(self, instrument: Instrument, gross: int) -> int:
        """Rounded away from zero, as the one recorded sample shows."""
        own_bp = self.catalogue.terms_of(instrument.symbol).fee_bp
        fee_bp = self.conversion_fee_bp if own_bp is None else own_bp
        return -abs(gross) * fee_bp // 10_000 if instrument.quote != self.currency else 0

    def swap(self, position: Position, nights: int) -> int:
        """A percentage is annual, of value at the price at which the position would close, by 360 days."""
        terms = self.catalogue.terms_of(position.instrument.symbol).swap
        if terms is None:
            return Ledger.swap(self, position, nights)
        instrument, quote = position.instrument, self.quotes[position.instrument.symbol]
        number = Fraction(Decimal(repr(terms.long if position.side > 0 else terms.short)))
        if terms.kind == SHARE:
            distance_e5 = number * (quote.bid_e5 if position.side > 0 else quote.ask_e5) / 36_000
        else:
            distance_e5 = number * (instrument.pip_e5 if terms.kind == PIPS else instrument.point_e5)
        worth = distance_e5 * position.volume_e2 * self._known_rate(instrument.quote, self.currency) * RATE_SCALE
        return divide_half_away(worth * nights * 10**self.money_digits / (PRICE_SCALE * VOLUME_SCALE * RATE_SCALE), 1)

    # --- margin ---------------------------------------------------------------------------------------------------

    def margins(self) -> dict[str, int]:
        """Margin of every position, by its id."""
        found: dict[str, int] = {}
        below: dict[tuple[str, Side], Fraction] = {}
        for number, position in self.positions.items():
            key = position.instrument.symbol, position.side
            if self.catalogue.terms_of(position.instrument.symbol).leverage is None:
                found[number] = self.margin(position.instrument, position.cost, position.rate_e8)
                continue
            # At the rates of the last opening, so that no price moves the margin of what is open.
            to_usd = self.usd_rates[number] or self._known_rate(position.instrument.quote, _USD)
            worth_usd = Fraction(position.cost) / (VOLUME_SCALE * PRICE_SCALE) * to_usd
            bottom = below.get(key, Fraction(0))
            found[number] = self._banded(position.instrument, bottom, worth_usd, position.rate_e8, to_usd)
            below[key] = bottom + worth_usd
        return found

    def opening_margin(self, instrument: Instrument, side: Side, volume_e2: int, price_e5: int, rate_e8: Rate) -> int:
        """With dynamic leverage, on top of what the side holds."""
        if self.catalogue.terms_of(instrument.symbol).leverage is None:
            return Ledger.opening_margin(self, instrument, side, volume_e2, price_e5, rate_e8)
        held = [p for p in self.positions.values() if (p.instrument, p.side) == (instrument, side)]
        to_usd = self._known_rate(instrument.quote, _USD)
        costs = ((Fraction(p.cost), self.usd_rates[p.position_id] or to_usd) for p in held)
        below = sum((cost * rate / (VOLUME_SCALE * PRICE_SCALE) for cost, rate in costs), Fraction(0))
        worth_usd = Fraction(volume_e2 * price_e5, VOLUME_SCALE * PRICE_SCALE) * to_usd
        return self._banded(instrument, below, worth_usd, rate_e8, to_usd)

    def _banded(
        self, instrument: Instrument, below_usd: Fraction, worth_usd: Fraction, rate_e8: Rate, to_usd: Fraction
    ) -> int:
        """Margin of an exposure that lies on top of another, in the account's smallest unit.

        Args:
            instrument: has dynamic leverage.
            below_usd: the other exposure.
            worth_usd: this one.
            rate_e8: account units for one of the quote asset, times 10**8.
            to_usd: US dollars for one of the quote asset.
        """
        share = self._tiered(instrument, below_usd + worth_usd) - self._tiered(instrument, below_usd)
        to_account = Fraction(rate_e8) / RATE_SCALE / to_usd
        return divide_half_away(share * to_account * 10**self.money_digits, 1)

    def _tiered(self, instrument: Instrument, worth_usd: Fraction) -> Fraction:
        """Margin in US dollars of a side's whole exposure; no tier carries more than the account does."""
        terms = self.catalogue.terms_of(instrument.symbol).leverage
        assert terms is not None
        margin, bottom = Fraction(0), Fraction(0)
        for number, (bound_e2, leverage) in enumerate(terms.tiers, 1):
            top = worth_usd if number == len(terms.tiers) else min(worth_usd, Fraction(bound_e2, 100))
            if top > bottom:
                margin += (top - bottom) / min(leverage, self.leverage)
                bottom = top
        return margin

    def combined(self, long: int, short: int) -> int:
        """Margin of both sides of one symbol together, by the account's rule."""
        if self.margin_rule == SUM:
            return long + short
        return abs(long - short) if self.margin_rule == NET else max(long, short)

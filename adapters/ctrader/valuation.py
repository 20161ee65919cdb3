"""What an account is worth, in the broker's own figures: from what it tells and the newest quotes. No I/O.

Theory of operation. The broker tells of every position its average, opening commission, swap and margin, and never
equity, free margin or profit: those are made of these and the quotes (`money`). Money in another asset is converted
along the broker's own chain of symbols. At which side of a quote it converts is not published; a closing deal tells the
rate that it used, and the side that gives exactly this rate is taken from then on. Until then it is the middle.

With dynamic leverage the margin of what is open is told and not computed. What an order would add is computed: exactly
on a dollar account or where its side holds nothing yet, else up to what the dollar moved since the side was opened,
because the broker does not tell the exposure that it counted. Whether tiers give leverage plainly or in hundredths is
found out from the first margin that the broker expects itself; until then such a margin is not known, and said to be.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal, get_args

import msgspec

from adapters.ctrader import money
from adapters.ctrader.money import Figures, MarginRule, Rates
from adapters.ctrader.symbols import Specification
from adapters.ctrader.wire import DEFAULT_MONEY_DIGITS, digits_of, money_of, side_of, volume_of
from bus.errors import DataError
from bus.messages import Quote
from bus.values import PRICE_SCALE, VOLUME_SCALE, Side, divide_half_away

ConvertsAt = Literal["bid", "mid", "ask"]
_USD = "USD"
_SAME = 1e-12
_MOST_POSITIONS = 10_000
_PLAIN, _HUNDREDTHS = 1, 100


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """A position as far as its value goes. `price_e5` is its average, exact; money in the account's smallest unit."""

    symbol_id: int
    side: Side
    volume_e2: int
    price_e5: Fraction
    commission: int
    swap: int
    margin: int
    margin_rate: Fraction
    updated_ms: int


class Valuation:
    """Figures of one account.

    Attributes:
        money_digits: decimals of the account's smallest unit.
        converts_at: side of the quotes at which money is converted.
        chains: names of the symbols that lead from one asset to another, in the broker's order; where it told none, the
            shortest through the symbols that are known.
    """

    def __init__(self, specifications: Mapping[int, Specification], quotes: Mapping[str, Quote], currency: str) -> None:
        self._specifications = specifications
        self._quotes = quotes
        self._currency = currency
        self._positions: dict[int, Worth] = {}
        self._rule = MarginRule.MAX
        self._leverage_e2 = 100
        self._tier_scale = 0
        self.money_digits = DEFAULT_MONEY_DIGITS
        self.converts_at: ConvertsAt = "mid"
        self.chains: dict[tuple[str, str], tuple[str, ...]] = {}

    # --- what the broker tells -------------------------------------------------------------------------------------

    def trader(self, trader: Any) -> None:
        """Take leverage and margin rule of a `ProtoOATrader`; what it leaves out stays."""
        if trader.HasField("totalMarginCalculationType"):
            self._rule = MarginRule(trader.totalMarginCalculationType)
        if trader.leverageInCents > 0:
            self._leverage_e2 = trader.leverageInCents

    def position(self, entity: Any) -> None:
        """Take a checked `ProtoOAPosition`; an empty one is gone, one older than what is known is passed over.

        Raises:
            DataError: more positions than anybody has.
        """
        known = self._positions.get(entity.positionId)
        if known is not None and 0 < entity.utcLastUpdateTimestamp < known.updated_ms:
            return
        if not volume_of(entity.tradeData, "volume"):
            self._positions.pop(entity.positionId, None)
            return
        if known is None and len(self._positions) >= _MOST_POSITIONS:
            raise DataError(f"more than {_MOST_POSITIONS} open positions on one account")
        self._positions[entity.positionId] = Worth(
            symbol_id=entity.tradeData.symbolId,
            side=side_of(entity.tradeData.tradeSide),
            volume_e2=entity.tradeData.volume,
            price_e5=money.average_e5(entity.price),
            commission=money_of(entity, "commission", self.money_digits),
            swap=money_of(entity, "swap", self.money_digits),
            margin=money_of(entity, "usedMargin", self.money_digits),
            margin_rate=money.average_e5(entity.marginRate) / PRICE_SCALE if entity.marginRate > 0 else Fraction(0),
            updated_ms=entity.utcLastUpdateTimestamp,
        )

    def reconciled(self, positions: Iterable[Any]) -> None:
        """Take the checked positions of a `ProtoOAReconcileRes`: there are no others."""
        told = {entity.positionId: entity for entity in positions}
        for number in [number for number in self._positions if number not in told]:
            del self._positions[number]
        for entity in told.values():
            self.position(entity)

    def margin_changed(self, event: Any) -> None:
        """Take a `ProtoOAMarginChangedEvent`; of a position that is not known it says nothing.

        Raises:
            DataError: more money than there is.
        """
        margin = money_of(event, "usedMargin", self.money_digits)
        known = self._positions.get(event.positionId)
        if known is not None:
            self._positions[event.positionId] = msgspec.structs.replace(known, margin=margin)

    @property
    def wonders(self) -> tuple[tuple[int, int, int], ...]:
        """What to ask the broker's expected margin of, to learn how tiers give leverage: symbolId, and two volumes.

        Symbols with tiers and a price; empty once it is known.
        """
        if self._tier_scale:
            return ()
        return tuple(
            (number, known.instrument.min_volume_e2, known.instrument.max_volume_e2)
            for number, known in self._specifications.items()
            if known.tiers and known.instrument.symbol in self._quotes
        )

    def margin_expected(self, symbol_id: int, answer: Any) -> None:
        """Take a `ProtoOAExpectedMarginRes`: it shows whether tiers give leverage plainly or in hundredths.

        Raises:
            DataError: more money than there is, or a price is not known.
        """
        known = self._specifications.get(symbol_id)
        if known is None or not known.tiers:
            return
        for row in answer.margin:
            told = divide_half_away(Fraction(row.buyMargin) * 10**self.money_digits / 10 ** digits_of(answer), 1)
            plain, hundredths = (self._tiered(known, Side.BUY, row.volume, scale) for scale in (_PLAIN, _HUNDREDTHS))
            if plain != hundredths:  # where the account's own leverage is the smaller one, both say the same
                self._tier_scale = _PLAIN if abs(plain - told) <= abs(hundredths - told) else _HUNDREDTHS

    def converted(self, symbol_id: int, told: float) -> None:
        """Take the rate that a closing deal used: the side of the quotes that gives exactly this one is theirs."""
        known = self._specifications.get(symbol_id)
        if known is None or not told > 0 or known.instrument.quote == self._currency:
            return
        for side in (self.converts_at, *get_args(ConvertsAt)):  # where two sides give it, nothing was learnt
            try:
                rate = float(self.rate(known.instrument.quote, self._currency, side))
            except DataError:
                return
            if abs(rate - told) <= _SAME * told:
                self.converts_at = side
                return

    # --- figures ---------------------------------------------------------------------------------------------------

    def rate(self, first: str, last: str, side: ConvertsAt | None = None) -> Fraction:
        """Units of one asset for one of another.

        Raises:
            DataError: no chain is known that leads there, or a price of it is not.
        """
        if first == last:
            return money.ONE
        links: list[tuple[str, str, Fraction]] = []
        for symbol in self.chains.get((first, last)) or self._chain(first, last):
            known, quote = self._known(symbol).instrument, self._quotes.get(symbol)
            price = Fraction(0) if quote is None else _at(quote, side or self.converts_at)
            links.append((known.base, known.quote, price))
        return money.chain_rate(first, last, links)

    def _chain(self, first: str, last: str) -> tuple[str, ...]:
        """Breadth first; of ways of one length the one with the earlier symbols."""
        known = [each.instrument for each in self._specifications.values()]
        ways: dict[str, tuple[str, ...]] = {first: ()}
        queue = [first]
        for here in queue:
            for each in known:
                there = {each.base: each.quote, each.quote: each.base}.get(here, here)
                if there not in ways:
                    ways[there] = (*ways[here], each.symbol)
                    queue.append(there)
        return ways.get(last, ())

    def profit(self, position_id: int) -> tuple[int, int]:
        """Unrealised result of a position: of prices alone, and with its opening commission and swap.

        Raises:
            DataError: no such position, or a price is not known.
        """
        held = self._positions.get(position_id)
        if held is None:
            raise DataError(f"position {position_id} is not open")
        known, quote = self._specifications.get(held.symbol_id), None
        if known is not None:
            quote = self._quotes.get(known.instrument.symbol)
        if known is None or quote is None:
            raise DataError(f"position {position_id}: no price of symbol {held.symbol_id}")
        gross = money.gross_profit(
            held.side, held.volume_e2, held.price_e5, quote.bid_e5 if held.side > 0 else quote.ask_e5,
            self.rate(known.instrument.quote, self._currency), self.money_digits,
        )  # fmt: skip
        return gross, money.net_profit(gross, held.commission, held.swap)

    def figures(self, balance: int) -> Figures:
        """The account now. Bonuses are left out: whether they carry positions is not known, and less is safer.

        Args:
            balance: the account's, in its smallest unit.

        Raises:
            DataError: the price of an open position is not known.
        """
        profits = {str(number): self.profit(number)[1] for number in self._positions}
        margins = ((str(held.symbol_id), held.side, held.margin) for held in self._positions.values())
        return money.figures(balance, profits, money.account_margin(margins, self._rule))

    def commission(self, symbol: str, volume_e2: int, price_e5: int) -> int:
        """Charge of one side of a deal, not positive.

        Raises:
            DataError: a rate that it needs is not known.
        """
        known = self._known(symbol)
        rule, instrument = known.commission, known.instrument
        in_usd = rule.kind in {money.CommissionType.USD_PER_MILLION_USD, money.CommissionType.USD_PER_LOT}
        by_value = rule.kind is money.CommissionType.USD_PER_MILLION_USD
        rates = Rates(
            quote_to_account=money.ONE if in_usd else self.rate(instrument.quote, self._currency),
            base_to_usd=self.rate(instrument.base, _USD) if by_value else money.ONE,
            usd_to_account=self.rate(_USD, self._currency) if in_usd else money.ONE,
            minimum_to_account=self.rate(rule.minimum_asset, self._currency) if rule.precise_minimum else money.ONE,
        )
        return money.commission(rule, volume_e2, instrument.lot_e2, price_e5, rates, self.money_digits)

    def margin(self, symbol: str, side: Side, volume_e2: int) -> int:
        """Margin that opening so much would take, on top of what the side holds.

        Raises:
            DataError: a price or the dynamic leverage that it needs is not known; the broker's `ExpectedMargin` knows.
        """
        known = self._known(symbol)
        if not known.leverage_id:
            to_account = self.rate(known.instrument.quote, self._currency)
            base_to_account = Fraction(self._opening_e5(symbol, side), PRICE_SCALE) * to_account
            return money.position_margin(volume_e2, base_to_account, self._leverage_e2, self.money_digits)
        readings = {self._tiered(known, side, volume_e2, scale) for scale in self._scales()}
        if len(readings) > 1:
            raise DataError(f"{symbol}: how dynamic leverage {known.leverage_id} is told is not known yet")
        return readings.pop()

    def _scales(self) -> tuple[int, ...]:
        return (self._tier_scale,) if self._tier_scale else (_PLAIN, _HUNDREDTHS)

    def _tiered(self, known: Specification, side: Side, volume_e2: int, scale: int) -> int:
        """Margin by tiers of an exposure on top of what its side holds."""
        instrument = known.instrument
        if not known.tiers:
            raise DataError(f"{instrument.symbol}: dynamic leverage {known.leverage_id} was not read")
        price_e5, to_account = self._opening_e5(instrument.symbol, side), self.rate(instrument.quote, self._currency)
        to_usd = self.rate(self._currency, _USD)
        below = sum((self._worth_usd(held, to_usd) for held in self._held(known.symbol_id, side)), Fraction(0))
        added = Fraction(volume_e2 * price_e5, VOLUME_SCALE * PRICE_SCALE) * to_account * to_usd
        margin_usd = money.tier_margin((below + added) * 100, known.tiers, scale, self._leverage_e2)
        margin_usd -= money.tier_margin(below * 100, known.tiers, scale, self._leverage_e2)
        return money.rounded(margin_usd / to_usd * 10**self.money_digits)

    def _opening_e5(self, symbol: str, side: Side) -> int:
        quote = self._quotes.get(symbol)
        if quote is None:
            raise DataError(f"{symbol}: no price yet")
        return quote.ask_e5 if side > 0 else quote.bid_e5

    def _held(self, symbol_id: int, side: Side) -> list[Worth]:
        return [held for held in self._positions.values() if (held.symbol_id, held.side) == (symbol_id, side)]

    def _worth_usd(self, held: Worth, to_usd: Fraction) -> Fraction:
        return Fraction(held.volume_e2, VOLUME_SCALE) * held.margin_rate * to_usd

    def _known(self, symbol: str) -> Specification:
        for known in self._specifications.values():
            if known.instrument.symbol == symbol:
                return known
        raise DataError(f"{symbol} is not in the catalogue")


def _at(quote: Quote, side: ConvertsAt) -> Fraction:
    if side == "mid":
        return Fraction(quote.bid_e5 + quote.ask_e5, 2)
    return Fraction(quote.bid_e5 if side == "bid" else quote.ask_e5)

"""What strategies may see of the core."""

from collections.abc import Callable, Sequence

from bus.messages import Quote
from bus.values import PRICE_SCALE, Instrument
from risk.book import Book
from strategies.contract import PositionView


class CoreView:
    """Fulfils `strategies.contract.View`. Reads; cannot change anything."""

    def __init__(self, book: Book, slippage_allowance_e5: int, now: Callable[[], int]) -> None:
        self._book = book
        self._slippage_allowance_e5 = slippage_allowance_e5
        self._now = now

    @property
    def now_ns(self) -> int:
        """Time of the newest message."""
        return self._now()

    @property
    def equity(self) -> int:
        """Floating equity in the account's smallest unit."""
        return self._book.equity

    def quote(self, symbol: str) -> Quote | None:
        """The last quote, or None before the first."""
        return self._book.quotes.get(symbol)

    def instrument(self, symbol: str) -> Instrument:
        """The symbol's specification."""
        return self._book.instruments[symbol]

    def position(self, position_id: str) -> PositionView:
        """One open position."""
        position = self._book.positions[position_id]
        return PositionView(
            position_id=position.position_id,
            symbol=position.symbol,
            side=position.side,
            volume_e2=position.volume_e2,
            entry_e5=position.price_e5,
            stop_loss_e5=position.stop_loss_e5,
            take_profit_e5=position.take_profit_e5,
            ts_open_ns=position.ts_open_ns,
            bars_held=position.bars_held,
            horizon=position.horizon,
            strategy=position.strategy,
        )

    def positions(self, strategy: str, symbol: str) -> Sequence[PositionView]:
        """The strategy's open positions in a symbol, oldest first."""
        return [
            self.position(position.position_id)
            for position in self._book.positions.values()
            if position.symbol == symbol and position.strategy == strategy
        ]

    def has_pending(self, strategy: str, symbol: str) -> bool:
        """Whether an order of the strategy is in flight or resting in a symbol."""
        return self._book.has_pending(strategy, symbol)

    def round_trip_cost_e5(self, symbol: str) -> int:
        """Commission of both sides and the slippage allowance as a price distance; the spread is not in it."""
        instrument = self._book.instruments[symbol]
        quote = self._book.quotes.get(symbol)
        mid_e5 = (quote.bid_e5 + quote.ask_e5) // 2 if quote else PRICE_SCALE
        # commission_per_million_e2 is 1/100 currency per million of value: as a share of the price, 1e-8 a side.
        commission_e5 = -(-2 * instrument.commission_per_million_e2 * mid_e5 // 100_000_000)
        return commission_e5 + self._slippage_allowance_e5

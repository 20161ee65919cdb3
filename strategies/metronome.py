"""The metronome: a load and plumbing test, not an opinion.

Every Nth quote of a symbol it closes what it holds there, or opens the side opposite to the last one, with stop and
target at a fixed distance. It loses the spread and the commission each time, on purpose: what it tests is everything
between a quote and a fill. Never run it against a live account.
"""

from collections.abc import Sequence

import msgspec

from bus.messages import Bar, CalibratedForecast, Intent, Quote
from bus.values import Side
from strategies.contract import View, exit_intent

NOTHING: tuple[Intent, ...] = ()


class MetronomeParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set.

    Attributes:
        every_quotes: act on every Nth quote of a symbol.
        stop_pips_e1: distance of the stop from the side on which the position would close, in 1/10 pips.
        target_pips_e1: distance of the target from that side, in 1/10 pips.
    """

    every_quotes: int = 100
    stop_pips_e1: int = 500
    target_pips_e1: int = 500

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for key in self.__struct_fields__:
            value: int = getattr(self, key)
            if not 1 <= value <= 1_000_000:
                raise ValueError(f"{key} = {value}: must lie between 1 and 1000000")


class Metronome:
    """See the module. State: quotes counted and the last side, by symbol; a function of what it was told."""

    name = "metronome"
    wants_quotes = True

    def __init__(self, params: MetronomeParams) -> None:
        self.params = params
        self._counted: dict[str, int] = {}
        self._last: dict[str, Side] = {}

    def on_forecast(self, forecast: CalibratedForecast, view: View) -> Sequence[Intent]:  # noqa: ARG002
        """Has no opinion."""
        return NOTHING

    def on_bar(self, bar: Bar, view: View) -> Sequence[Intent]:  # noqa: ARG002
        """Has no opinion."""
        return NOTHING

    def on_quote(self, quote: Quote, view: View) -> Sequence[Intent]:
        """Count, and on every Nth quote close or open."""
        symbol = quote.symbol
        counted = self._counted.get(symbol, 0) + 1
        self._counted[symbol] = counted
        if counted % self.params.every_quotes or view.has_pending(self.name, symbol):
            return NOTHING
        positions = view.positions(self.name, symbol)
        if positions:
            return [exit_intent(position, view, "beat") for position in positions]
        side = self._last.get(symbol, Side.SELL).opposite
        self._last[symbol] = side
        instrument = view.instrument(symbol)
        entry_e5, closing_e5 = (quote.ask_e5, quote.bid_e5) if side > 0 else (quote.bid_e5, quote.ask_e5)
        stop_e5 = closing_e5 - side * (self.params.stop_pips_e1 * instrument.pip_e5 // 10)
        target_e5 = closing_e5 + side * (self.params.target_pips_e1 * instrument.pip_e5 // 10)
        return [
            Intent(
                intent_id="",
                strategy=self.name,
                symbol=symbol,
                action="enter",
                side=side,
                reason="beat",
                reference_e5=entry_e5,
                ts_init_ns=view.now_ns,
                stop_loss_e5=max(0, instrument.round_price_e5(stop_e5)),
                take_profit_e5=max(0, instrument.round_price_e5(target_e5)),
                scale_e5=self.params.stop_pips_e1 * instrument.pip_e5 // 10,
                edge_e5=1,
            )
        ]

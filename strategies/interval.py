"""The interval strategy: act only where the calibrated interval, not the point forecast, clears the full cost.

It enters long where even the lower limit of an interval for the bid lies above today's ask by more than commission and
slippage of the round trip; short where bid today exceeds the upper limit of the ask then (the bid's plus the spread)
by as much. Stop and target are the limits of the widest interval: beyond its adverse limit the forecast was wrong,
at its favourable limit there is no more to expect.

Which interval decides is `level_ppm`. An honest 90 % interval of hourly prices is many times wider than any forecast
move, so it practically never clears the price: a strategy that demands it does not trade. The default is a narrow
central band (10 %, which leaves 45 % on the losing side), and even that clears the cost only where a model claims real
foresight. Few or no trades on a market without it are the right answer, not a fault.

It leaves on an opposite signal, and when a position has been held for the horizon of the forecast. One call either
leaves or enters, never both, and neither while an order of its own is at work: what it holds cannot double up.
"""

from collections.abc import Sequence

import msgspec

from bus.messages import Band, Bar, CalibratedForecast, CalibratedHorizon, Intent, Quote
from bus.values import Instrument, Side
from strategies.contract import View, exit_intent

NOTHING: tuple[Intent, ...] = ()


class IntervalParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can be set.

    Attributes:
        horizon: bars ahead of the forecast that decides, and how long a position is held.
        level_ppm: coverage of the interval that must clear the cost, in millionths; where the forecast has no interval
            of this level, its nearest decides (of two as near, the wider).
        max_positions: open at a time in one symbol.
        min_stop_pips_e1: a stop is at least this far from the side on which the position would close, in 1/10 pips.
        min_target_pips_e1: a target is at least this far beyond the entry, in 1/10 pips.
    """

    horizon: int = 24
    level_ppm: int = 100_000
    max_positions: int = 1
    min_stop_pips_e1: int = 50
    min_target_pips_e1: int = 30

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        bounds = {
            "horizon": (1, 10_000),
            "level_ppm": (1, 999_999),
            "max_positions": (1, 100),
            "min_stop_pips_e1": (1, 100_000),
            "min_target_pips_e1": (1, 100_000),
        }
        for key, (lowest, highest) in bounds.items():
            value: int = getattr(self, key)
            if not lowest <= value <= highest:
                raise ValueError(f"{key} = {value}: must lie between {lowest} and {highest}")


class Interval:
    """See the module. Keeps no state: every answer follows from the forecast and the view."""

    name = "interval"
    wants_quotes = False

    def __init__(self, params: IntervalParams) -> None:
        self.params = params

    def on_forecast(self, forecast: CalibratedForecast, view: View) -> Sequence[Intent]:
        """Leave what the forecast speaks against; else enter what it speaks for, if there is room."""
        quote = view.quote(forecast.symbol)
        chosen = next((h for h in forecast.horizons if h.horizon == self.params.horizon), None)
        if quote is None or chosen is None or not chosen.bands or view.has_pending(self.name, forecast.symbol):
            return NOTHING
        cost_e5 = view.round_trip_cost_e5(forecast.symbol)
        side, edge_e5 = self._signal(self._deciding(chosen), quote, cost_e5)
        if side is None:
            return NOTHING
        positions = view.positions(self.name, forecast.symbol)
        opposed = [position for position in positions if position.side is not side]
        if opposed:
            return [exit_intent(position, view, "opposite signal") for position in opposed]
        if len(positions) >= self.params.max_positions or not chosen.bands[0].bounded:
            return NOTHING
        return [self._enter(forecast, chosen, side, edge_e5, quote, view)]

    def on_bar(self, bar: Bar, view: View) -> Sequence[Intent]:
        """Leave what has been held for the horizon."""
        positions = view.positions(self.name, bar.symbol)
        if not positions or view.has_pending(self.name, bar.symbol):
            return NOTHING
        return [
            exit_intent(position, view, "expired")
            for position in positions
            if position.bars_held >= (position.horizon or self.params.horizon)
        ]

    def on_quote(self, quote: Quote, view: View) -> Sequence[Intent]:  # noqa: ARG002  # the contract's shape
        """Not asked for."""
        return NOTHING

    def _deciding(self, chosen: CalibratedHorizon) -> Band:
        return min(chosen.bands, key=lambda band: (abs(band.level_ppm - self.params.level_ppm), -band.level_ppm))

    def _signal(self, band: Band, quote: Quote, cost_e5: int) -> tuple[Side | None, int]:
        """The side whose full cost the band clears, and by how much beyond it."""
        if not band.bounded:
            return None, 0
        long_e5 = band.lower_e5 - quote.ask_e5 - cost_e5
        short_e5 = quote.bid_e5 - (band.upper_e5 + quote.ask_e5 - quote.bid_e5) - cost_e5
        if long_e5 > 0:
            return Side.BUY, long_e5
        return (Side.SELL, short_e5) if short_e5 > 0 else (None, 0)

    def _enter(
        self,
        forecast: CalibratedForecast,
        chosen: CalibratedHorizon,
        side: Side,
        edge_e5: int,
        quote: Quote,
        view: View,
    ) -> Intent:
        stop_e5, target_e5 = self._levels(chosen.bands[0], side, quote, view.instrument(forecast.symbol))
        return Intent(
            intent_id="",
            strategy=self.name,
            symbol=forecast.symbol,
            action="enter",
            side=side,
            reason=f"{chosen.horizon}-bar interval clears the cost",
            reference_e5=quote.ask_e5 if side > 0 else quote.bid_e5,
            ts_init_ns=view.now_ns,
            stop_loss_e5=stop_e5,
            take_profit_e5=target_e5,
            horizon=chosen.horizon,
            point_e5=chosen.point_e5,
            edge_e5=edge_e5,
            scale_e5=chosen.sigma_e5,
            model_id=forecast.model_id,
            request_id=forecast.request_id,
        )

    def _levels(self, widest: Band, side: Side, quote: Quote, instrument: Instrument) -> tuple[int, int]:
        """Stop and target on the price grid: a long one's are met by the bid, a short one's by the ask."""
        spread_e5 = quote.ask_e5 - quote.bid_e5
        stop_e5, target_e5 = widest.lower_e5, widest.upper_e5
        closing_e5, entry_e5 = quote.bid_e5, quote.ask_e5
        if side is Side.SELL:
            stop_e5, target_e5 = widest.upper_e5 + spread_e5, widest.lower_e5 + spread_e5
            closing_e5, entry_e5 = entry_e5, closing_e5
        nearest_stop_e5 = closing_e5 - side * (self.params.min_stop_pips_e1 * instrument.pip_e5 // 10)
        nearest_target_e5 = entry_e5 + side * (self.params.min_target_pips_e1 * instrument.pip_e5 // 10)
        if side is Side.BUY:
            stop_e5, target_e5 = min(stop_e5, nearest_stop_e5), max(target_e5, nearest_target_e5)
        else:
            stop_e5, target_e5 = max(stop_e5, nearest_stop_e5), min(target_e5, nearest_target_e5)
        # A target below zero (a wide interval of a low price) is none; a stop below zero the gate refuses.
        return max(0, instrument.round_price_e5(stop_e5)), max(0, instrument.round_price_e5(target_e5))

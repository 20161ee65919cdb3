"""A view for strategies that says what a test tells it."""

from bus.messages import Band, Bar, CalibratedForecast, CalibratedHorizon, Quote
from bus.values import NS_PER_HOUR, Side, default_instrument
from strategies.contract import PositionView

T_NS = 1_525_186_800_000_000_000


class StaticView:
    def __init__(self, bid=120_000, spread=8, positions=(), pending=False, cost=12, symbol="EURUSD"):
        self.now_ns = T_NS
        self.equity = 1_000_000
        self.last = Quote(symbol=symbol, bid_e5=bid, ask_e5=bid + spread, ts_event_ns=T_NS, ts_init_ns=T_NS)
        self.held, self.pending, self.cost = list(positions), pending, cost

    def quote(self, symbol):
        return self.last

    def instrument(self, symbol):
        return default_instrument(symbol)

    def positions(self, strategy, symbol):
        return [p for p in self.held if p.strategy == strategy and p.symbol == symbol]

    def has_pending(self, strategy, symbol):
        return self.pending

    def round_trip_cost_e5(self, symbol):
        return self.cost


def held(side=Side.BUY, strategy="interval", bars=0, name="P1", horizon=0, symbol="EURUSD"):
    return PositionView(position_id=name, symbol=symbol, side=side, volume_e2=100_000, entry_e5=120_000,
                        stop_loss_e5=0, take_profit_e5=0, ts_open_ns=T_NS, bars_held=bars, horizon=horizon,
                        strategy=strategy)  # fmt: skip


def forecast(narrow, wide=(119_000, 121_500), horizon=24, bounded=True, symbol="EURUSD", level_ppm=200_000):
    bands = (Band(level_ppm=900_000, lower_e5=wide[0], upper_e5=wide[1], bounded=bounded),
             Band(level_ppm=level_ppm, lower_e5=narrow[0], upper_e5=narrow[1], bounded=bounded))  # fmt: skip
    point = sum(narrow) // 2
    return CalibratedForecast(
        request_id="r", symbol=symbol, model_id="m", active=True, as_of_ns=T_NS, expires_ns=T_NS + 1, close_e5=120_000,
        horizons=(CalibratedHorizon(horizon=horizon, point_e5=point, sigma_e5=150, bands=bands),), ts_init_ns=T_NS,
    )  # fmt: skip


def bar(symbol="EURUSD"):
    return Bar(symbol=symbol, period_ns=NS_PER_HOUR, ts_open_ns=T_NS - NS_PER_HOUR, ts_close_ns=T_NS, open_e5=120_000,
               high_e5=120_010, low_e5=119_990, close_e5=120_000, spread_e5=8, quotes=4)  # fmt: skip

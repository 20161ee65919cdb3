"""What a page or a view shows: plain structs that `daemon.status` fills and JSON carries."""

import msgspec

from bus.messages import (
    CalibratedForecast,
    ModelPromoted,
    ModelRefused,
    ModelRolledBack,
    PatternSeen,
    PositionState,
    SwapRefused,
)

OTHER = "(other)"
CLEAR = 0.5
"""Named patterns are all counted, but come up by the hundred: only those of this confidence or more get a line."""


MODEL_NEWS = (ModelPromoted, ModelRolledBack, ModelRefused, SwapRefused)
"""What people want to read of the models."""


def model_words(fact: ModelPromoted | ModelRolledBack | ModelRefused | SwapRefused) -> str:
    """One line for people."""
    if isinstance(fact, ModelRefused | SwapRefused):
        return f"{fact.symbol}: {fact.model_id or 'models'} refused: {fact.reason}"
    how = "promoted" if isinstance(fact, ModelPromoted) else "gone back to"
    return f"{fact.symbol}: {fact.model_id} trades, not {fact.replaced or 'none'}, {how} by {fact.rule}: {fact.reason}"


class OpenPosition(msgspec.Struct, kw_only=True):
    """One open position; `profit` is floating, with swap and commission, in the account's smallest unit."""

    position_id: str
    symbol: str
    side: int
    volume_e2: int
    entry_e5: int
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    commission: int = 0
    swap: int = 0
    opened_ns: int = 0
    price_e5: int = 0
    profit: int = 0


class HorizonView(msgspec.Struct, frozen=True, kw_only=True):
    """The widest band of one horizon of the last forecast."""

    horizon: int
    point_e5: int
    lower_e5: int
    upper_e5: int
    level_ppm: int
    bounded: bool


class ForecastView(msgspec.Struct, frozen=True, kw_only=True):
    """The last calibrated forecast of a symbol."""

    symbol: str
    model_id: str
    as_of_ns: int
    close_e5: int
    digits: int
    horizons: tuple[HorizonView, ...]


class CoverageView(msgspec.Struct, kw_only=True):
    """How often the truth lay in the trading model's widest band at one horizon."""

    horizon: int
    nominal: float
    n: int = 0
    covered: int = 0
    width_sum_e5: int = 0

    @property
    def measured(self) -> float | None:
        """The share that was covered; None before the first truth."""
        return self.covered / self.n if self.n else None


class Counts(msgspec.Struct):
    """What happened, how often. `trades` counts closing deals."""

    quotes: int = 0
    bars: int = 0
    forecasts: int = 0
    forecasts_missed: int = 0
    patterns: int = 0
    intents: int = 0
    refused: int = 0
    orders: int = 0
    rejected: int = 0
    fills: int = 0
    trades: int = 0
    wins: int = 0
    halts: int = 0


class Health(msgspec.Struct, frozen=True):
    """Whether all is well, and why not."""

    ok: bool
    state: str
    reasons: tuple[str, ...]
    silent_s: float


class DepthView(msgspec.Struct, frozen=True):
    """What is bid and offered, the best first: (price in 1/100000, size in 1/100 unit)."""

    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


class MarginView(msgspec.Struct, frozen=True):
    """An account in the broker's own terms, in its smallest unit; `level_pct` None = no margin in use."""

    balance: int
    equity: int
    used: int
    free: int
    level_pct: float | None


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """The device beside the processor. An empty `name` = there is none.

    `models` are the forecasters on it, each with how; `kept_off` those that are not; `answered` counts forecasts,
    `fell_back` forecasts that the processor had to compute in its stead, by reason; `busy` is a share.
    """

    name: str
    models: dict[str, str]
    kept_off: int
    answered: int
    fell_back: dict[str, int]
    memory_bytes: int
    busy: float


class InferenceView(msgspec.Struct, frozen=True, kw_only=True):
    """Who forecasts and how it is. What a `process` does not do is 0 for a `thread`.

    `answered` counts requests, `missed` forecasts that did not come, by reason; `stood_in` requests that this process
    answered because the child could not, `unanswered` those that nobody did; `device` None = none may be used, or the
    child has not said yet how it is.
    """

    worker: str
    state: str
    answered: int
    missed: dict[str, int]
    stood_in: int = 0
    unanswered: int = 0
    restarts: int = 0
    memory_bytes: int = 0
    busy: float = 0.0
    device: DeviceView | None = None


class TrainingView(msgspec.Struct, frozen=True, kw_only=True):
    """How far a training is, as the bus told it; `state` is ``trains``, ``finished``, ``stopped`` or ``failed``.

    `share` is what is done of its run; epochs and losses are told by networks of PyTorch alone.
    """

    run: str
    symbol: str
    state: str
    at_ns: int
    model: str = ""
    share: float = 0.0
    epoch: int = 0
    epochs: int = 0
    train_loss: float | None = None
    validation_loss: float | None = None
    samples_per_s: float = 0.0
    left_s: float | None = None


class PairView(msgspec.Struct, frozen=True):
    """Two symbols with positions, and their correlation."""

    one: str
    other: str
    correlation: float


class FactorView(msgspec.Struct, frozen=True):
    """A principal component: the currency it loads on most, and its share of the variance of all symbols.

    `loss` is what a move of one standard deviation of it over the horizon would cost the book.
    """

    name: str
    share: float
    loss: int


class PortfolioView(msgspec.Struct, frozen=True, kw_only=True):
    """What all positions may lose together, in the account's smallest unit, with every entry at work filled.

    `bars` is how many bars the measure rests on, of `min_bars` that it needs; the losses are None before that, and
    while a price or a conversion rate is missing. `unmeasured` are symbols with too few bars.
    """

    method: str
    level: float
    horizon_bars: int
    bars: int
    min_bars: int
    value_at_risk: int | None = None
    shortfall: int | None = None
    correlations: tuple[PairView, ...] = ()
    factors: tuple[FactorView, ...] = ()
    unmeasured: tuple[str, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a page or a view shows, at one moment. Money in the account's smallest unit.

    `pace` is measured, in seconds of market time a second; `pace_wanted` was asked for; `left_s` None = unknown.
    `gates` are those on models that are not open, with what they let through (`daemon.gateboard`).
    `depth` is by symbol, of those whose depth is asked for; `margin` None = no broker, or a price is not known yet;
    `inference` None = whoever serves the bus forecasts; `portfolio` None = no limit of the book as a whole is on;
    `trainings` are those that a bus tells of.
    """

    run_id: str
    mode: str
    state: str
    currency: str
    money_digits: int
    now_ns: int
    start_balance: int
    balance: int
    equity: int
    peak_equity: int
    drawdown: float
    max_drawdown: float
    net_profit: int
    costs: int
    positions: tuple[OpenPosition, ...]
    forecasts: tuple[ForecastView, ...]
    coverage: tuple[CoverageView, ...]
    refusals: dict[str, int]
    patterns: dict[str, int]
    halts: dict[str, str]
    gates: dict[str, str]
    depth: dict[str, DepthView]
    margin: MarginView | None
    inference: InferenceView | None
    portfolio: PortfolioView | None
    trainings: tuple[TrainingView, ...]
    counts: Counts
    progress: float
    pace: float
    pace_wanted: str
    elapsed_s: float
    left_s: float | None
    equity_line: tuple[int, ...]
    events: tuple[tuple[int, str], ...]
    health: Health


def open_position(state: PositionState) -> OpenPosition:
    """A position as the venue tells it."""
    return OpenPosition(
        position_id=state.position_id,
        symbol=state.symbol,
        side=int(state.side),
        volume_e2=state.volume_e2,
        entry_e5=state.price_e5,
        stop_loss_e5=state.stop_loss_e5,
        take_profit_e5=state.take_profit_e5,
        commission=state.commission,
        swap=state.swap,
        opened_ns=state.ts_open_ns,
    )


def forecast_view(forecast: CalibratedForecast, digits: int) -> ForecastView:
    """A forecast with the widest band of each horizon; `digits` of a displayed price."""
    return ForecastView(
        symbol=forecast.symbol,
        model_id=forecast.model_id,
        as_of_ns=forecast.as_of_ns,
        close_e5=forecast.close_e5,
        digits=digits,
        horizons=tuple(
            HorizonView(
                horizon=each.horizon,
                point_e5=each.point_e5,
                lower_e5=each.bands[0].lower_e5,
                upper_e5=each.bands[0].upper_e5,
                level_ppm=each.bands[0].level_ppm,
                bounded=each.bands[0].bounded,
            )
            for each in forecast.horizons
            if each.bands
        ),
    )


def pattern_words(seen: PatternSeen) -> str:
    """A line about a pattern; empty for a named one that is less than half as clear as in a textbook."""
    if seen.threshold_ppm:
        return f"{seen.pattern} (percentile {seen.percentile:.1f})"
    clear = seen.confidence_ppm / 1e6
    return f"{seen.pattern} ({clear:.0%} clear)" if clear >= CLEAR else ""


class Tally(dict[str, int]):
    """How often each name came up, in bounded memory: what comes after the first `largest` names counts as OTHER."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self._largest = largest

    def count(self, name: str) -> None:
        """It came up once more."""
        key = name if name in self or len(self) < self._largest else OTHER
        self[key] = self.get(key, 0) + 1

    def ranked(self) -> dict[str, int]:
        """A copy, most frequent first."""
        return dict(sorted(self.items(), key=lambda each: (-each[1], each[0])))


class ThinnedLine:
    """A line of numbers in bounded memory: when it is full, every second point goes, and half as many are taken."""

    def __init__(self, largest: int) -> None:
        self.points: list[int] = []
        self._largest = largest
        self._stride, self._skipped = 1, 0

    def add(self, value: int) -> None:
        """Take one more value, or pass it over."""
        self._skipped += 1
        if self._skipped < self._stride:
            return
        self._skipped = 0
        self.points.append(value)
        if len(self.points) >= self._largest:
            self.points = self.points[::2]
            self._stride *= 2

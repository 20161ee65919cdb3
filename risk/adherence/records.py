"""What adherence derives: plain frozen structs, ready for JSON.

One sign rule holds throughout: what costs us is negative, what helps us is positive. Money is in the account's
smallest unit, prices in 1/100000, durations in nanoseconds (None = it did not happen or was not told).
"""

import msgspec

from bus.values import Instrument


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every figure."""


class Money(Record, frozen=True, kw_only=True):
    """One result and its parts.

    before_costs + spread + slippage = gross; gross + commission + swap + conversion_fee = net; delay + impact =
    slippage, all exactly. `before_costs` is the profit at mid prices where decisions (or protective levels) saw the
    market; `spread` is half the spread at the moment of every deal; `slippage` what deals got beyond their reference
    price: `delay` as far as the market had moved when they were executed, `impact` what they paid beyond its price.
    """

    before_costs: int = 0
    spread: int = 0
    slippage: int = 0
    gross: int = 0
    commission: int = 0
    swap: int = 0
    conversion_fee: int = 0
    net: int = 0
    delay: int = 0
    impact: int = 0

    def plus(self, other: "Money") -> "Money":
        """Part by part."""
        return Money(
            before_costs=self.before_costs + other.before_costs,
            spread=self.spread + other.spread,
            slippage=self.slippage + other.slippage,
            gross=self.gross + other.gross,
            commission=self.commission + other.commission,
            swap=self.swap + other.swap,
            conversion_fee=self.conversion_fee + other.conversion_fee,
            net=self.net + other.net,
            delay=self.delay + other.delay,
            impact=self.impact + other.impact,
        )

    @property
    def ties_out(self) -> bool:
        """Whether the parts add up."""
        return (
            self.before_costs + self.spread + self.slippage == self.gross
            and self.gross + self.commission + self.swap + self.conversion_fee == self.net
            and self.delay + self.impact == self.slippage
        )

    @property
    def costs(self) -> int:
        """All that stands between the profit before costs and the net profit."""
        return self.net - self.before_costs


class Trade(Record, frozen=True, kw_only=True):
    """One position from its first deal to its last.

    `signal_e5` is the price the decision saw; `decision_ns` runs from the forecast's bar to the intent, `send_ns` from
    intent to order, `accept_ns` and `fill_ns` from order to the venue's answer and the first deal, `protect_ns` from
    the first deal to a stop at the venue. `level_e5` is the protective level that closed it (0 = an order did) and
    `beyond_e5` the distance from that level to the fill. `ts_close_ns` 0 = still open.
    """

    number: int
    position_id: str
    symbol: str
    strategy: str
    model_id: str
    horizon: int
    side: int
    reason: str
    exit_reason: str
    cause: str
    ts_signal_ns: int
    ts_open_ns: int
    ts_close_ns: int
    signal_e5: int
    entry_e5: float
    exit_e5: float
    intended_e2: int
    filled_e2: int
    closed_e2: int
    entry_slippage_e5: int
    exit_slippage_e5: int
    entry_spread_e5: int
    exit_spread_e5: int
    decision_ns: int | None
    send_ns: int | None
    accept_ns: int | None
    fill_ns: int | None
    protect_ns: int | None
    stop_loss_e5: int
    take_profit_e5: int
    level_e5: int
    beyond_e5: int
    expected_profit: int
    holding_bars: int
    holding_ns: int
    money: Money
    client_order_id: str = ""
    intent_id: str = ""
    request_id: str = ""


class Group(Record, frozen=True, kw_only=True):
    """Closed business under one key: a trading day, an ISO week, a month, a strategy, a symbol or a model."""

    key: str
    trades: int
    wins: int
    money: Money


class Spread(Record, frozen=True, kw_only=True):
    """How a quantity was distributed. All 0 where n is 0. `p95` is the 95th percentile, nearest rank."""

    n: int = 0
    mean: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    largest: float = 0.0


class Distribution(Record, frozen=True, kw_only=True):
    """How a quantity was distributed, with its signs. All 0 where n is 0. Percentiles by nearest rank.

    `deviation` is the standard deviation (n - 1; 0 below two values); `below`, `zero` and `above` count signs.
    """

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    least: float = 0.0
    p05: float = 0.0
    p25: float = 0.0
    median: float = 0.0
    p75: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    largest: float = 0.0
    below: int = 0
    zero: int = 0
    above: int = 0


class Refusal(Record, frozen=True, kw_only=True):
    """A `refused` intent (rule of the risk gate) or a `rejected` order (code of the venue)."""

    ts_ns: int
    kind: str
    subject: str
    strategy: str
    symbol: str
    rule: str
    limit: str
    value: str
    would_pass: str


class Count(Record, frozen=True, kw_only=True):
    """How often something happened; `example` is the newest in words."""

    kind: str
    key: str
    n: int
    example: str = ""


class UnusualBar(Record, frozen=True, kw_only=True):
    """A bar whose window a model knows badly; `percentile` is where its error lies among those of validation."""

    ts_ns: int
    symbol: str
    model_id: str
    percentile: float


class LevelRow(Record, frozen=True, kw_only=True):
    """Coverage of one interval level with its 95 % Clopper-Pearson interval; widths and scores in pips."""

    level: float
    n: int
    covered: int
    measured: float
    low: float
    high: float
    mean_width_pips: float
    winkler_pips: float


class ForecastRow(Record, frozen=True, kw_only=True):
    """One model at one horizon. `skill` is 1 - CRPS / CRPS of the random walk over the same forecasts.

    `crps_t` is the Diebold-Mariano statistic of the difference in CRPS (Newey-West, lag horizon - 1): above 0 the
    model is better. `derived` marks a random-walk row that was worked out here because no such model ran.
    """

    symbol: str
    model_id: str
    active: bool
    random_walk: bool
    derived: bool
    horizon: int
    n: int
    levels: tuple[LevelRow, ...]
    mae_pips: float
    rmse_pips: float
    crps_pips: float
    hits: int
    calls: int
    hit_rate: float
    hit_low: float
    hit_high: float
    skill: float
    crps_t: float | None
    leak_suspected: bool


class CoveragePoint(Record, frozen=True, kw_only=True):
    """Share covered among the newest `n` forecasts, with its 95 % interval."""

    ts_ns: int
    n: int
    measured: float
    low: float
    high: float


class CoverageSeries(Record, frozen=True, kw_only=True):
    """Rolling coverage of an active model's widest interval."""

    symbol: str
    model_id: str
    horizon: int
    level: float
    window: int
    points: tuple[CoveragePoint, ...]


class EquityPoint(Record, frozen=True, kw_only=True):
    """The account at a bar's close: `equity` floats with the last quotes, `drawdown` (<= 0) is from its peak."""

    ts_ns: int
    balance: int
    equity: int
    drawdown: int


class BarPoint(Record, frozen=True, kw_only=True):
    """A closed bar, for plots."""

    ts_close_ns: int
    high_e5: int
    low_e5: int
    close_e5: int


class IntervalPoint(Record, frozen=True, kw_only=True):
    """What the active model said about the bid close at `ts_ns`, for plots."""

    ts_ns: int
    horizon: int
    level: float
    point_e5: int
    lower_e5: int
    upper_e5: int


class FillPoint(Record, frozen=True, kw_only=True):
    """A deal, for plots. `profit` is the net booked with it."""

    ts_ns: int
    symbol: str
    price_e5: int
    side: int
    closing: bool
    cause: str
    slippage_e5: int
    profit: int


class Conservation(Record, frozen=True, kw_only=True):
    """The money check: three independent ways to the same number.

    `balance_change` is the venue's last balance less the first; `booked` sums the four parts of every closing deal and
    `moved` what came or went otherwise (cash, other people's deals).
    `commission_told` sums the deals' own commissions and `swap_told` the nights' charges; once flat they equal what
    was booked, before that the rest belongs to open positions.
    """

    balance_start: int
    balance_end: int
    balance_change: int
    booked: int
    moved: int
    commission_booked: int
    commission_told: int
    swap_booked: int
    swap_told: int
    flat: bool
    exact: bool


class Finding(Record, frozen=True, kw_only=True):
    """Something a person should know. `severity` is `critical`, `warning` or `info`."""

    rule: str
    severity: str
    subject: str
    value: str
    limit: str
    sentence: str


class Verdict(Record, frozen=True, kw_only=True):
    """An edge after costs? `edge` only where profit and forecast skill both stand out of the noise."""

    edge: bool
    headline: str
    sentences: tuple[str, ...]
    trades: int
    mean_net: float
    profit_t: float | None
    crps_t: float | None
    horizon: int
    model_id: str


class Counts(Record, frozen=True, kw_only=True):
    """How many messages of each sort the journal holds (each deal once, however often it was told)."""

    messages: int
    quotes: int
    bars: int
    forecasts: int
    missed: int
    patterns: int
    intents: int
    refused: int
    orders: int
    rejected: int
    fills: int
    repeated: int
    trades: int
    open_positions: int


class Summary(Record, frozen=True, kw_only=True):
    """Everything that adherence found in one journal."""

    run_id: str
    mode: str
    currency: str
    money_digits: int
    period_ns: int
    instruments: tuple[Instrument, ...]
    config_json: str
    ts_first_ns: int
    ts_last_ns: int
    counts: Counts
    verdict: Verdict
    findings: tuple[Finding, ...]
    total: Money
    conservation: Conservation
    equity_start: int
    equity_end: int
    max_drawdown: int
    max_drawdown_pct: float
    trades: tuple[Trade, ...]
    days: tuple[Group, ...]
    weeks: tuple[Group, ...]
    months: tuple[Group, ...]
    strategies: tuple[Group, ...]
    symbols: tuple[Group, ...]
    models: tuple[Group, ...]
    refusals: tuple[Refusal, ...]
    refusal_counts: tuple[Count, ...]
    missed_counts: tuple[Count, ...]
    pattern_counts: tuple[Count, ...]
    delays: dict[str, Spread]
    slippage: dict[str, Spread]
    regime_counts: tuple[Count, ...]
    unusual: tuple[UnusualBar, ...]
    forecasts: tuple[ForecastRow, ...]
    coverage: tuple[CoverageSeries, ...]
    equity: tuple[EquityPoint, ...]
    bars: dict[str, tuple[BarPoint, ...]]
    intervals: dict[str, tuple[IntervalPoint, ...]]
    fills: tuple[FillPoint, ...]

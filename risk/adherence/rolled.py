"""What a roll-up holds: one `Period` a day, week, month, strategy, symbol and model, and the records under them.

The sign rule of `records` holds: what costs us is negative. Money is in the account's smallest unit, prices in
1/100000, volumes in 1/100 unit, durations and moments in nanoseconds (None = it did not happen or was not told).
Everything is plain JSON: numbers, strings, lists and objects.
"""

from risk.adherence.levels import LevelHit
from risk.adherence.records import Conservation, Count, Distribution, Money, Record, Trade


class Execution(Record, frozen=True, kw_only=True):
    """One order from the signal to its last deal, or one protective deal.

    `leg` is `entry`, `exit`, or the cause of a protective deal (`stop_loss`, `take_profit`, `trailing_stop`,
    `stop_out`). `state` is sent, accepted, filled, partly_filled, rejected, cancelled, expired or unknown; `code` the
    venue's code or words where it was not filled whole. `slippage_e5` is from the price the decision saw (or the level)
    to the average fill, of which the market's move until then is `delay_e5` and the rest `impact_e5`.

    Delays: `forecast_ns` from the close of the bar to the forecast, `decision_ns` from there to the intent, `order_ns`
    from intent to order, `send_ns` from the order to its leaving, `accept_ns` and `fill_ns` from its leaving (from the
    order, where that was not told) to the venue's answer and the first deal as we were told them.
    """

    run_id: str
    client_order_id: str
    intent_id: str
    position_id: str
    strategy: str
    symbol: str
    model_id: str
    horizon: int
    side: int
    leg: str
    state: str
    code: str
    ts_signal_ns: int
    ts_ns: int
    reference_e5: int
    price_e5: float
    intended_e2: int
    filled_e2: int
    deals: int
    slippage_e5: float
    delay_e5: float
    impact_e5: float
    spread_e5: float
    slippage: int
    forecast_ns: int | None
    decision_ns: int | None
    order_ns: int | None
    send_ns: int | None
    accept_ns: int | None
    fill_ns: int | None


class Missed(Record, frozen=True, kw_only=True):
    """A signal that was not traded. `what` is `refused` (by the gate), `rejected` (by the venue) or `unfilled`.

    `rule` is the gate's rule or the venue's code; `edge_e5` what the decision expected to gain after costs.
    """

    run_id: str
    ts_ns: int
    intent_id: str
    strategy: str
    symbol: str
    model_id: str
    horizon: int
    side: int
    what: str
    rule: str
    limit: str
    value: str
    edge_e5: int


class Orders(Record, frozen=True, kw_only=True):
    """Orders by what became of them. `partly_filled` ended with less than was ordered; `unanswered` were never told of.

    Rates are of `sent`. `intended_e2` and `filled_e2` are of all orders that the venue took.
    """

    sent: int = 0
    filled: int = 0
    partly_filled: int = 0
    rejected: int = 0
    cancelled: int = 0
    expired: int = 0
    unknown: int = 0
    unanswered: int = 0
    intended_e2: int = 0
    filled_e2: int = 0
    rejection_rate: float = 0.0
    partial_rate: float = 0.0


class Rate(Record, frozen=True, kw_only=True):
    """How many orders ended one way with one code, and their share of all orders sent."""

    state: str
    code: str
    n: int
    share: float


class Signals(Record, frozen=True, kw_only=True):
    """From forecasts to orders: `forecasts` of models that trade, `entries` = wishes to enter, `ordered` of them."""

    forecasts: int = 0
    forecasts_missed: int = 0
    entries: int = 0
    refused: int = 0
    ordered: int = 0
    traded: int = 0


class LevelAccuracy(Record, frozen=True, kw_only=True):
    """Protective levels of one cause: filled at, beyond (worse than) or better than their price, or not at all.

    `false_triggers` were reached by the side of the market that closes and not by the mid price: the spread did it.
    `beyond_e5` is distributed over executed ones (negative = worse), `late_ns` over all.
    """

    cause: str
    n: int
    at: int
    beyond: int
    better: int
    missed: int
    false_triggers: int
    beyond_e5: Distribution
    late_ns: Distribution


class LimitPeak(Record, frozen=True, kw_only=True):
    """How much of a limit was used at most. `share` 1.0 = all of it; None = the journal does not tell.

    `limit` and `peak` are in `unit`; a limit of 0 is switched off. `refusals` counts the intents that it refused.
    """

    rule: str
    key: str
    unit: str
    limit: float
    peak: float | None
    share: float | None
    ts_ns: int
    refusals: int


class CoverageTest(Record, frozen=True, kw_only=True):
    """Were the intervals as good as promised? One symbol, model, horizon and level.

    Forecasts `horizon` bars ahead overlap: `independent` is how many do not, and the 95 % Clopper-Pearson interval
    (`low`, `high`) and both tests count that many. `kupiec_p` tests the share of misses (exact binomial below five
    misses), `independence_p` whether they come alone (Christoffersen 1998); None = too few.
    """

    symbol: str
    model_id: str
    active: bool
    horizon: int
    level: float
    n: int
    covered: int
    measured: float
    independent: int
    low: float
    high: float
    mean_width_pips: float
    kupiec_p: float | None
    independence_p: float | None


class Drift(Record, frozen=True, kw_only=True):
    """A model's errors in a period against all before it: mean absolute error over its own sigma.

    `change_pct` above 0 = worse; `t` is Welch's, counted over forecasts that do not overlap.
    """

    symbol: str
    model_id: str
    horizon: int
    n_before: int
    n: int
    before: float
    now: float
    change_pct: float
    t: float | None


class Outage(Record, frozen=True, kw_only=True):
    """A time without a connection to the venue (`link`), without a process (`process`) or without prices (`data`)."""

    kind: str
    subject: str
    ts_from_ns: int
    ts_to_ns: int
    reason: str


class Service(Record, frozen=True, kw_only=True):
    """Time in trading hours of the period in which a run was begun and not ended, and how much of it was fit to trade.

    `up_ns` is `expected_ns` less outages of process and link; data gaps are counted apart.
    """

    expected_ns: int = 0
    up_ns: int = 0
    uptime: float = 1.0
    reconnects: int = 0
    restarts: int = 0
    link_down_ns: int = 0
    process_down_ns: int = 0
    data_gaps: int = 0
    data_gap_ns: int = 0


class Period(Record, frozen=True, kw_only=True):
    """All figures under one key. `kind` is total, day, week, month, strategy, symbol or model.

    `delays` has forecast_ns, decision_ns, order_ns, send_ns, accept_ns, fill_ns and protect_ns; `slippage_e5` and
    `slippage_pips` have `all`, `entry`, `exit` and `protective`. `moved` is cash and other people's deals (never a
    result). `expected` and `realised` compare closed trades whose order said what it expected. Limits and service are
    those of time, and empty for strategies, symbols and models.
    """

    kind: str
    key: str
    ts_from_ns: int
    ts_to_ns: int
    days: int
    trades: int
    wins: int
    money: Money
    moved: int
    expected: int
    realised: int
    expecting: int
    signals: Signals
    orders: Orders
    codes: tuple[Rate, ...]
    delays: dict[str, Distribution]
    slippage_e5: dict[str, Distribution]
    slippage_pips: dict[str, Distribution]
    levels: tuple[LevelAccuracy, ...]
    missed: tuple[Count, ...]
    limits: tuple[LimitPeak, ...]
    coverage: tuple[CoverageTest, ...]
    drift: tuple[Drift, ...]
    service: Service


class RunSpan(Record, frozen=True, kw_only=True):
    """One journal of the roll-up, and whether its money adds up.

    `unexplained` is the change of balance between the end of the journal before and the start of this one, where both
    are of one account at a venue: what happened while nothing was recorded.
    """

    run_id: str
    mode: str
    account_id: str
    ts_first_ns: int
    ts_last_ns: int
    resumes: int
    conservation: Conservation
    unexplained: int


class Rollup(Record, frozen=True, kw_only=True):
    """Everything that one or more journals tell, rolled up. `exact` = money adds up in every journal and table.

    `missed` lists the newest missed signals (`rollup.MISSED_LISTED`); the periods count all of them.
    """

    currency: str
    money_digits: int
    pips_e5: dict[str, int]
    runs: tuple[RunSpan, ...]
    exact: bool
    total: Period
    days: tuple[Period, ...]
    weeks: tuple[Period, ...]
    months: tuple[Period, ...]
    strategies: tuple[Period, ...]
    symbols: tuple[Period, ...]
    models: tuple[Period, ...]
    trades: tuple[Trade, ...]
    executions: tuple[Execution, ...]
    missed: tuple[Missed, ...]
    hits: tuple[LevelHit, ...]
    outages: tuple[Outage, ...]

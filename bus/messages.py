"""The message union: everything one room may say to another.

Theory of operation. A message is a frozen struct. Data are nouns (`Quote`), commands imperative (`SubmitOrder`),
facts past tense (`OrderFilled`). Each type has one producing room, named in its docstring. Units come last in every
name: `_e5` prices, `_e2` volumes, `_ns` UTC nanoseconds, money in the account's smallest unit. `ts_event_ns` is the
venue's time, `ts_init_ns` ours; what arrives is ordered by the inbox's sequence number and by nothing else.

All of it stands in one file, because it is one union and is read as one vocabulary.

Messages encode as arrays, so fields are positional: a new field goes to the end, with a default; a type never changes.
"""

import enum

import msgspec

from bus.values import Instrument, OrderType, Side, TimeInForce


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True, gc=False):
    """Base of every message."""


# --- market data -----------------------------------------------------------------------------------------------


class Quote(Message, frozen=True, kw_only=True):
    """Best bid and ask of a symbol. Produced by adapters. Both sides are always present and positive."""

    symbol: str
    bid_e5: int
    ask_e5: int
    ts_event_ns: int
    ts_init_ns: int


class Bar(Message, frozen=True, kw_only=True):
    """One bar of bid prices. Produced by the core from quotes, and by shells and adapters from history.

    Those from history come before the first quote, or tell what a lost connection missed. Closed, and admissible from
    `ts_close_ns` on; one from history that closes later is still in the making.
    `spread_e5` is the last ask minus bid in the bar; `quotes` counts the quotes that made it.
    """

    symbol: str
    period_ns: int
    ts_open_ns: int
    ts_close_ns: int
    open_e5: int
    high_e5: int
    low_e5: int
    close_e5: int
    spread_e5: int
    quotes: int


class ClockTick(Message, frozen=True, kw_only=True):
    """Time has passed. Produced by shells: at bar boundaries, and every second in real time."""

    ts_init_ns: int


# --- forecasts -------------------------------------------------------------------------------------------------


class ForecastRequested(Message, frozen=True, kw_only=True):
    """A closed bar asks for forecasts. Produced by the core, answered by models.serve, never awaited by the core.

    Carries the newest bars, oldest first, so that the answer depends on nothing but this message: inference keeps no
    state, may run anywhere, and may be restarted at any time. The columns have equal lengths.
    """

    request_id: str
    symbol: str
    as_of_ns: int
    period_ns: int
    horizons: tuple[int, ...]
    deadline_ns: int
    ts_open_ns: tuple[int, ...]
    open_e5: tuple[int, ...]
    high_e5: tuple[int, ...]
    low_e5: tuple[int, ...]
    close_e5: tuple[int, ...]
    spread_e5: tuple[int, ...]
    quotes: tuple[int, ...]


class HorizonForecast(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One model's view of one horizon: the bid close `horizon` bars ahead, and its scale (one sigma)."""

    horizon: int
    point_e5: int
    sigma_e5: int


class Forecast(Message, frozen=True, kw_only=True):
    """One model's uncalibrated answer to one request. Produced by models.serve. Expires at `expires_ns`."""

    request_id: str
    symbol: str
    model_id: str
    as_of_ns: int
    expires_ns: int
    horizons: tuple[HorizonForecast, ...]
    ts_init_ns: int
    latency_ns: int = 0


class ForecastMissed(Message, frozen=True, kw_only=True):
    """A forecast that did not come: `late`, `not_finite`, `error`, `no_history` or `unavailable`.

    Produced by models.serve and by shells. `model_id` is empty where no model was reached.
    """

    request_id: str
    symbol: str
    model_id: str
    reason: str
    detail: str
    ts_init_ns: int


class PatternSeen(Message, frozen=True, kw_only=True):
    """The autoencoder met a window it reconstructs badly, or a named pattern was seen. Produced by models.serve.

    Of a window: `error_ppm` is the reconstruction error and `threshold_ppm` the alarm level, both in millionths of the
    normalised unit; `percentile` is where the error lies among the validation errors (0 to 100); `candles` are the
    offsets (0 = newest) of the candles that differ most, worst first.

    Of a named pattern: `confidence_ppm` is how clear the shape is, in millionths (1,000,000 = textbook; no
    probability), `direction` 1 bullish, -1 bearish, 0 neither; `candles` are the offsets of the candles that carry it,
    newest first; error, threshold and percentile are 0. It is told once, by the bar that completes it.
    """

    request_id: str
    symbol: str
    pattern: str
    model_id: str
    as_of_ns: int
    error_ppm: int
    threshold_ppm: int
    percentile: float
    candles: tuple[int, ...]
    ts_init_ns: int
    confidence_ppm: int = 0
    direction: int = 0


class RegimeSeen(Message, frozen=True, kw_only=True):
    """Which state a market is in. Produced by models.serve, one a bar and regime model; a fact, and no forecast.

    `regime` is the most probable state, 0 the calmest; `before` what it was a bar earlier, so that a change shows in
    this message alone. `probabilities_ppm` are those of all states, calmest first, in millionths.
    """

    request_id: str
    symbol: str
    model_id: str
    as_of_ns: int
    regime: int
    before: int
    probabilities_ppm: tuple[int, ...]
    ts_init_ns: int


class Band(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A calibrated central interval: the bid close lies within with probability `level_ppm` / 1e6.

    `bounded` is False where the calibration set is too small for the level (k > n); the limits are then meaningless.
    """

    level_ppm: int
    lower_e5: int
    upper_e5: int
    bounded: bool


class CalibratedHorizon(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One horizon of a calibrated forecast; `bands` are in the configured order of levels, widest first."""

    horizon: int
    point_e5: int
    sigma_e5: int
    bands: tuple[Band, ...]


class CalibratedForecast(Message, frozen=True, kw_only=True):
    """A forecast with intervals whose truth is measured. Produced by the core. `active` marks the model that trades."""

    request_id: str
    symbol: str
    model_id: str
    active: bool
    as_of_ns: int
    expires_ns: int
    close_e5: int
    horizons: tuple[CalibratedHorizon, ...]
    ts_init_ns: int


class ForecastResolved(Message, frozen=True, kw_only=True):
    """The truth arrived for one horizon of a calibrated forecast. Produced by the core, `horizon` bars later.

    `covered` says for each band whether the bid close lay within (limits included).
    """

    symbol: str
    model_id: str
    active: bool
    horizon: int
    as_of_ns: int
    close_e5: int
    point_e5: int
    sigma_e5: int
    actual_e5: int
    bands: tuple[Band, ...]
    covered: tuple[bool, ...]
    ts_init_ns: int


class VolatilityState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `models.volatility` has learnt of one market up to a bar; continuing from it is bit-equal to never stopping.

    `levels` are recent ranges relative to their season, one a span; `returns`, `ranges` and `counts` have one entry a
    bucket of the trading week; `cycle` lists the buckets that trade, `sums` the cumulated variance over them.
    """

    period_ns: int
    last_open_ns: int
    last_close_e5: int
    week_ns: int
    weeks: int
    bars: int
    mean_return: float
    mean_range: float
    levels: tuple[float, ...]
    returns: tuple[float, ...]
    ranges: tuple[float, ...]
    counts: tuple[int, ...]
    cycle: tuple[int, ...]
    sums: tuple[float, ...]


class Histogram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often something lay where: cell i is above edge i - 1 and at most edge i; the last has no upper edge.

    `edges` ascend; `shares_ppm`, in millionths, has one entry more. Without edges nothing is known.
    """

    edges: tuple[int, ...] = ()
    shares_ppm: tuple[int, ...] = ()


class TrainingSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bars were like that a model has seen, in so few numbers that they fit in a message (`models.summary`).

    `returns` and `ranges` are in millionths of the market's scale a bar before (`models.volatility`); `octaves_ppm` is
    how the power of the returns divides among periods of 2 to 4 bars, 4 to 8, and so on.
    """

    bars: int
    returns: Histogram
    ranges: Histogram
    octaves_ppm: tuple[int, ...]


class ModelAdmitted(Message, frozen=True, kw_only=True):
    """A verified artifact may speak. Produced by the daemon's admission; the last one with `active` trades at once.

    `scores` holds, per horizon, the newest nonconformity scores of the calibration split, in time order: as many as a
    calibrator keeps. They are |y - point| / scale, where the scale is the volatility model's from `volatility` on, the
    market as it was at the end of the calibration split; None: the scale is the forecast's own sigma.

    `release` is the registry's number of the release it came with (0 = not told). `candidate` marks the one that its
    release puts forward while another trades: it is compared with that one and may take its place. `verdict` says
    whether it beat the random walk on its calibration split. `reference` is what its bars were like; None: not told.
    """

    model_id: str
    kind: str
    symbol: str
    active: bool
    horizons: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    ts_init_ns: int
    volatility: VolatilityState | None = None
    release: int = 0
    candidate: bool = False
    verdict: str = ""
    reference: TrainingSummary | None = None


class ModelRefused(Message, frozen=True, kw_only=True):
    """An artifact may not speak. Produced by the daemon's admission. `reason` is what, where, and what to do.

    `model_id` is empty where what is wrong is wrong with the whole release, `release` 0 where its number is not known.
    """

    model_id: str
    symbol: str
    release: int
    reason: str
    ts_init_ns: int


class PromoteModel(Message, frozen=True, kw_only=True):
    """Let an admitted model trade a symbol from now on. Produced by operators."""

    symbol: str
    model_id: str
    operator: str
    reason: str
    ts_init_ns: int


class RollBackModel(Message, frozen=True, kw_only=True):
    """Let the model trade that traded a symbol before. Produced by operators. `model_id` names it; empty = the last."""

    symbol: str
    model_id: str
    operator: str
    reason: str
    ts_init_ns: int


class ModelPromoted(Message, frozen=True, kw_only=True):
    """Another model trades a symbol from here on. Produced by the core.

    `rule` is `operator` or `comparison`; `reason` the operator's words, or the figures that decided. Requests that the
    model in force before had decided stay decided; those nobody had are the new one's.
    """

    symbol: str
    model_id: str
    replaced: str
    rule: str
    reason: str
    ts_init_ns: int


class ModelRolledBack(Message, frozen=True, kw_only=True):
    """A model that traded before trades again. Produced by the core.

    `replaced` no longer trades, and by rule never will again; `rule` is `operator`, `comparison`, `coverage` or
    `misses`.
    """

    symbol: str
    model_id: str
    replaced: str
    rule: str
    reason: str
    ts_init_ns: int


class ModelRetired(Message, frozen=True, kw_only=True):
    """A model is asked no more: a newer release came, and it neither trades nor did so lately. Produced by the core."""

    symbol: str
    model_id: str
    reason: str
    ts_init_ns: int


class SwapRefused(Message, frozen=True, kw_only=True):
    """What an operator wanted of the models cannot be done. Produced by the core; the model in force trades on."""

    symbol: str
    model_id: str
    reason: str
    ts_init_ns: int


# --- what is measured of models, and what it means for risk ----------------------------------------------------


class CoverageChanged(Message, frozen=True, kw_only=True):
    """A model's intervals at one horizon tell the truth better or worse than before. Produced by the core.

    `before` and `after` are `unmeasured`, `ok`, `degraded` (entries are smaller) or `blocked` (no new risk). Of the `n`
    outcomes in the window (overlapping ones count as one) `covered` were covered; `upper_ppm` is the upper limit of
    that share's 99 % Clopper-Pearson interval, `nominal_ppm` what was promised, `multiplier_ppm` what is left of size.
    `sum_pct` is how far the sequential test is on its way to a block. `wide` says that more is covered than promised,
    and that this is no luck. `active` marks the model that trades; `reason` says in words what changed the state.
    """

    symbol: str
    model_id: str
    horizon: int
    active: bool
    before: str
    after: str
    n: int
    covered: int
    nominal_ppm: int
    upper_ppm: int
    sum_pct: int
    multiplier_ppm: int
    wide: bool
    reason: str
    ts_init_ns: int


class DriftChanged(Message, frozen=True, kw_only=True):
    """The market or a model's forecasts differ more, or less, than before from what they were. Produced by the core.

    `kind` is `performance` (of one `horizon`, against the calibration split), `data` or `spectrum` (horizon 0: of the
    bars, against those the model has seen). `before` and `after` are `unmeasured`, `ok`, `warn` (entries are smaller)
    or `block` (no new risk). `value_pct_e2` was measured over `n`, `limit_pct_e2` is where `warn` begins, both in 1/100
    percent; `what` names the quantity, `reason` says all of it in words. `active` marks the model that trades.
    """

    symbol: str
    model_id: str
    kind: str
    horizon: int
    active: bool
    before: str
    after: str
    what: str
    value_pct_e2: int
    limit_pct_e2: int
    n: int
    multiplier_ppm: int
    reason: str
    ts_init_ns: int


class GateChanged(Message, frozen=True, kw_only=True):
    """Something else about models lets through less risk than before, or more. Produced by the core.

    `gate` is `forecasts` (of one model: they did not come), `anomaly` or `regime` (of the symbol, `model_id` saw it).
    `before` and `after` are `ok` or `closed`; `multiplier_ppm` is what is left of size, 0 = no new risk.
    """

    symbol: str
    model_id: str
    gate: str
    active: bool
    before: str
    after: str
    multiplier_ppm: int
    reason: str
    ts_init_ns: int


# --- intents and orders ----------------------------------------------------------------------------------------


class Intent(Message, frozen=True, kw_only=True):
    """What a strategy wants. Produced by strategies; held against every limit before it becomes an order.

    `action` is `enter` (open a position on `side`) or `exit` (close the strategy's position `position_id`).
    `reference_e5` is the price the decision saw (ask to buy, bid to sell). `stop_loss_e5` is required to enter.
    `order_type` MARKET ignores `price_e5`; a LIMIT or STOP entry rests at `price_e5` until `valid_until_ns` (0 = GTC).
    `edge_e5` is the distance by which the interval clears the cost, `scale_e5` the forecast's sigma; sizing uses both.
    """

    intent_id: str
    strategy: str
    symbol: str
    action: str
    side: Side
    reason: str
    reference_e5: int
    ts_init_ns: int
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing_e5: int = 0
    position_id: str = ""
    order_type: OrderType = OrderType.MARKET
    price_e5: int = 0
    valid_until_ns: int = 0
    horizon: int = 0
    point_e5: int = 0
    edge_e5: int = 0
    scale_e5: int = 0
    model_id: str = ""
    request_id: str = ""


class IntentRefused(Message, frozen=True, kw_only=True):
    """A limit said no. Produced by risk.gate. `would_pass` says in words what would have passed."""

    intent_id: str
    strategy: str
    symbol: str
    rule: str
    limit: str
    value: str
    would_pass: str
    ts_init_ns: int


class SubmitOrder(Message, frozen=True, kw_only=True):
    """Place an order. Produced by risk.gate, durable before it leaves. `client_order_id` is the idempotency key.

    MARKET ignores `limit_e5` and `trigger_e5`; LIMIT needs `limit_e5`; STOP needs `trigger_e5`; STOP_LIMIT needs
    both. `stop_loss_e5` and `take_profit_e5` are absolute prices, 0 = none; `trailing_e5` is the distance at which the
    stop follows, 0 = fixed. `position_id` set means: close that position (never more than it holds).
    `reference_e5` is the price the decision saw, for slippage; `expires_ns` belongs to GTD.
    """

    client_order_id: str
    intent_id: str
    strategy: str
    symbol: str
    side: Side
    order_type: OrderType
    volume_e2: int
    reference_e5: int
    ts_init_ns: int
    time_in_force: TimeInForce = TimeInForce.IOC
    limit_e5: int = 0
    trigger_e5: int = 0
    expires_ns: int = 0
    stop_loss_e5: int = 0
    take_profit_e5: int = 0
    trailing_e5: int = 0
    position_id: str = ""
    reason: str = ""
    expected_profit: int = 0


class CancelOrder(Message, frozen=True, kw_only=True):
    """Withdraw a resting order. Produced by the core."""

    client_order_id: str
    symbol: str
    reason: str
    ts_init_ns: int


class AmendProtection(Message, frozen=True, kw_only=True):
    """Replace both protective levels of a position; 0 removes one. Produced by the core."""

    position_id: str
    symbol: str
    stop_loss_e5: int
    take_profit_e5: int
    trailing_e5: int
    reason: str
    ts_init_ns: int


# --- what the venue tells --------------------------------------------------------------------------------------


class OrderAccepted(Message, frozen=True, kw_only=True):
    """The venue took the order. Produced by adapters; a live shell adds when the order had left (0 = not told)."""

    client_order_id: str
    order_id: str
    symbol: str
    ts_event_ns: int
    ts_init_ns: int
    ts_sent_ns: int = 0


class OrderRejected(Message, frozen=True, kw_only=True):
    """The venue refused an order, cancel or amendment. Produced by adapters. `code` is the venue's, in capitals.

    `ts_sent_ns` is when an order that was refused had left, added by a live shell (0 = not told, or never left).
    """

    client_order_id: str
    symbol: str
    code: str
    text: str
    ts_event_ns: int
    ts_init_ns: int
    ts_sent_ns: int = 0


class OrderCancelled(Message, frozen=True, kw_only=True):
    """An order ended unfilled or partly filled: cancelled by us, by the venue, or an IOC remainder. By adapters."""

    client_order_id: str
    symbol: str
    reason: str
    filled_e2: int
    ts_event_ns: int
    ts_init_ns: int


class OrderExpired(Message, frozen=True, kw_only=True):
    """A good-till-date order reached its date. Produced by adapters."""

    client_order_id: str
    symbol: str
    filled_e2: int
    ts_event_ns: int
    ts_init_ns: int


class OrderUnknown(Message, frozen=True, kw_only=True):
    """A command was written and not answered. Neither done nor refused; its symbol takes no new risk. By adapters."""

    client_order_id: str
    symbol: str
    ts_init_ns: int


class OrderFilled(Message, frozen=True, kw_only=True):
    """One deal. Produced by adapters; known by `deal_id` and folded once, however often it is told.

    A deal either opens (or adds to) a position, or closes (part of) one: `closing` says which, and a deal that turns a
    netted position round is told as two. Money is in the account's smallest unit, charges negative.

    `commission` is this deal's own charge. On a closing deal the venue books to the balance: `gross_profit`,
    `booked_commission` (both sides of the closed volume), `booked_swap` and `conversion_fee`; these four add up
    exactly to the change of balance. On an opening deal all four are 0 and the balance does not move.
    `cause` is `order`, `stop_loss`, `take_profit`, `trailing_stop` or `stop_out`; `level_e5` is the level that
    triggered a protective fill (0 for orders). `remaining_e2` is what is left of the position.
    """

    deal_id: str
    client_order_id: str
    order_id: str
    position_id: str
    symbol: str
    side: Side
    volume_e2: int
    price_e5: int
    closing: bool
    cause: str
    remaining_e2: int
    commission: int
    gross_profit: int
    booked_commission: int
    booked_swap: int
    conversion_fee: int
    balance: int
    bid_e5: int
    ask_e5: int
    ts_event_ns: int
    ts_init_ns: int
    level_e5: int = 0
    order_done: bool = True


class ProtectionChanged(Message, frozen=True, kw_only=True):
    """The venue holds these protective levels for a position, 0 = none. Produced by adapters."""

    position_id: str
    symbol: str
    stop_loss_e5: int
    take_profit_e5: int
    trailing_e5: int
    ts_event_ns: int
    ts_init_ns: int


class SwapCharged(Message, frozen=True, kw_only=True):
    """A night's swap was added to a position; it reaches the balance with the closing deal. Produced by adapters."""

    position_id: str
    symbol: str
    amount: int
    nights: int
    ts_event_ns: int
    ts_init_ns: int


class PositionState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One open position as the venue tells it. `price_e5` is the volume-weighted entry."""

    position_id: str
    symbol: str
    side: Side
    volume_e2: int
    price_e5: int
    stop_loss_e5: int
    take_profit_e5: int
    commission: int
    swap: int
    client_order_id: str = ""
    ts_open_ns: int = 0


class OrderState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One resting order as the venue tells it."""

    client_order_id: str
    order_id: str
    symbol: str
    side: Side
    order_type: OrderType
    volume_e2: int
    filled_e2: int = 0


class AccountSnapshot(Message, frozen=True, kw_only=True):
    """All the venue knows about the account. Produced by adapters at start and after every reconnect.

    What is needed to tell, after a restart, which deals the first snapshot of a run contains: those executed until
    `deals_until_ns` by the venue's clock (0 = not said), and those that left a balance of up to `balance_version`.
    """

    account_id: str
    currency: str
    money_digits: int
    hedged: bool
    leverage: int
    balance: int
    positions: tuple[PositionState, ...]
    orders: tuple[OrderState, ...]
    ts_event_ns: int
    ts_init_ns: int
    deals_until_ns: int = 0
    balance_version: int = 0


class ForeignChanged(Message, frozen=True, kw_only=True):
    """A position or an order on the account that is not ours. Produced by adapters. Counted, and never touched.

    `kind` is `position` or `order`, `subject` the venue's id. `volume_e2` is what is open now, 0 = it ended;
    `price_e5` the average entry of a position (0 for an order); `charges` its commission and swap not yet booked.
    """

    kind: str
    subject: str
    symbol: str
    side: Side
    volume_e2: int
    price_e5: int
    charges: int
    label: str
    ts_event_ns: int
    ts_init_ns: int


class BalanceMoved(Message, frozen=True, kw_only=True):
    """The balance moved by something other than our deals. Produced by adapters; known by `move_id`, folded once.

    `cause` is `cash` (deposit, withdrawal, fee: no result of trading) or `foreign` (somebody else's closing deal).
    `delta` is the change, `balance` the account's balance after it.
    """

    move_id: str
    cause: str
    delta: int
    balance: int
    ts_event_ns: int
    ts_init_ns: int


class LinkChanged(Message, frozen=True, kw_only=True):
    """The way to the venue is up (connected, logged in, reconciled, subscribed), or it was lost. Produced by adapters.

    While it is down no command leaves: entries and exits are refused, what must be closed is closed once it is up.
    """

    up: bool
    reason: str
    ts_init_ns: int


# --- operators, halts, life cycle ------------------------------------------------------------------------------


class HaltLevel(enum.IntEnum):
    """How far a halt goes; each level includes the ones below."""

    NONE = 0
    NO_NEW_RISK = 1
    CANCEL_ENTRIES = 2
    FLATTEN = 3


class HaltTrading(Message, frozen=True, kw_only=True):
    """Stop taking risk. Produced by operators (command line, web, file, signal) and by shells.

    It halts whoever asks: an empty operator or reason is put up with here, and only here.
    """

    level: HaltLevel
    source: str
    operator: str
    reason: str
    ts_init_ns: int


class ResumeTrading(Message, frozen=True, kw_only=True):
    """Lift every latched halt. Produced by a named operator with a reason; without either it is refused."""

    operator: str
    reason: str
    ts_init_ns: int


class HaltLatched(Message, frozen=True, kw_only=True):
    """A halt is in force until somebody lifts it. Produced by the core. `rule` is what broke, or who asked."""

    level: HaltLevel
    rule: str
    limit: str
    value: str
    reason: str
    ts_init_ns: int


class HaltLifted(Message, frozen=True, kw_only=True):
    """Trading may take risk again. Produced by the core."""

    operator: str
    reason: str
    ts_init_ns: int


class ResumeRefused(Message, frozen=True, kw_only=True):
    """Nobody, or for no reason, wanted to lift halts; they stay. Produced by the core. `why` says what is missing."""

    operator: str
    reason: str
    why: str
    ts_init_ns: int


class ReconcileFound(Message, frozen=True, kw_only=True):
    """The book and the venue's snapshot disagree on one thing. Produced by the core."""

    kind: str
    subject: str
    ours: str
    theirs: str
    ts_init_ns: int


class RunStarted(Message, frozen=True, kw_only=True):
    """The first message of every journal: all that the core is built from.

    `config_json` holds the strategy and risk settings as JSON; `run_id` prefixes every client order id. `venue_json`
    says how a simulated venue treats orders, so that the day can be simulated again from its journal alone; empty = a
    real venue, or not told. The core does not look at it.
    """

    run_id: str
    schema: int
    mode: str
    currency: str
    money_digits: int
    leverage: int
    hedged: bool
    period_ns: int
    horizons: tuple[int, ...]
    levels_ppm: tuple[int, ...]
    instruments: tuple[Instrument, ...]
    config_json: str
    ts_init_ns: int
    venue_json: str = ""


class RunResumed(Message, frozen=True, kw_only=True):
    """A process took the journal up again after a stop or a crash. Produced by shells; decides nothing."""

    reason: str
    ts_init_ns: int


class RunEnded(Message, frozen=True, kw_only=True):
    """No more input will come (end of data) or the operator stops. Produced by shells.

    With `flatten` the core closes what is open; without it positions stay, protected by their stops.
    """

    reason: str
    flatten: bool
    ts_init_ns: int


# --- alerts ----------------------------------------------------------------------------------------------------


class AlertRaised(Message, frozen=True, kw_only=True):
    """Something is as it should not be. Produced by risk.alerts, told once a breach; in journals by the core alone.

    `rule` and `subject` are its key: of one key one is open at a time. `severity` is `info`, `warning` or `critical`;
    `value` is what was met, `limit` what is allowed, `advice` what to do. `size_ppm` is what entries of the subject are
    multiplied by, in millionths, while it is open: below 1,000,000 the core says it, and it is a decision.
    """

    rule: str
    subject: str
    severity: str
    value: str
    limit: str
    advice: str
    ts_init_ns: int
    size_ppm: int = 1_000_000


class AlertCleared(Message, frozen=True, kw_only=True):
    """What an alert told of is over. Produced by risk.alerts, once an alert; in journals by the core alone.

    `ts_raised_ns` is the time of the `AlertRaised` of the same rule and subject; its severity is repeated.
    """

    rule: str
    subject: str
    severity: str
    value: str
    limit: str
    ts_raised_ns: int
    ts_init_ns: int


# --- news -------------------------------------------------------------------------------------------------------


class NewsEvent(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One event of a calendar. `impact` is 1 low, 2 medium, 3 high."""

    ts_ns: int
    currency: str
    impact: int
    title: str


class NewsScheduled(Message, frozen=True, kw_only=True):
    """A calendar of events that move prices; it takes the place of the one before. Produced by shells, from a file.

    `source` names the file, `events` are in order of time.
    """

    source: str
    events: tuple[NewsEvent, ...]
    ts_init_ns: int


# --- training --------------------------------------------------------------------------------------------------


class TrainingStarted(Message, frozen=True, kw_only=True):
    """Models of a symbol are being trained. Produced by the daemon's trainer, a process of its own.

    It and the four below travel on a bus where the configuration names one, and enter no journal and no core. `run` is
    the training run's name, `models` the architectures, `bars` how many are learnt from, the first and last of which
    opened at `first_ts_ns` and `last_ts_ns`.
    """

    run: str
    symbol: str
    models: tuple[str, ...]
    bars: int
    first_ts_ns: int
    last_ts_ns: int
    ts_init_ns: int


class TrainingProgressed(Message, frozen=True, kw_only=True):
    """How far a training is. Produced by the daemon's trainer; the newest a model, left out while the bus is behind.

    `share_ppm` is what is done of the run, in millionths. The rest is told by networks of PyTorch alone: epochs done
    and at most made, steps, losses (None = not known yet), the learning rate, rows a second, and seconds left.
    """

    run: str
    symbol: str
    model: str
    share_ppm: int
    ts_init_ns: int
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    train_loss: float | None = None
    validation_loss: float | None = None
    rate: float = 0.0
    samples_per_s: float = 0.0
    left_s: float | None = None


class TrainingSaved(Message, frozen=True, kw_only=True):
    """A checkpoint was written, after `step` steps. Produced by the daemon's trainer, and lossy like progress."""

    run: str
    symbol: str
    model: str
    step: int
    ts_init_ns: int


class TrainingEnded(Message, frozen=True, kw_only=True):
    """A training run is over for this process. Produced by the daemon's trainer.

    `outcome` is ``finished``, ``stopped`` (the same command goes on) or ``failed``, and `reason` says why.
    """

    run: str
    outcome: str
    reason: str
    ts_init_ns: int


class ModelsPublished(Message, frozen=True, kw_only=True):
    """A release lies in the registry. Produced by the daemon's trainer, again and again until the bus has it.

    News and no order: a daemon that hears it looks at its own registry at once, which it does now and then anyway, and
    admits or refuses by what it finds there. `active` is the model that the release puts forward.
    """

    run: str
    symbol: str
    period_ns: int
    release: int
    models: tuple[str, ...]
    active: str
    ts_init_ns: int


AnyMessage = (
    Quote
    | Bar
    | ClockTick
    | ForecastRequested
    | Forecast
    | ForecastMissed
    | PatternSeen
    | RegimeSeen
    | CalibratedForecast
    | ForecastResolved
    | ModelAdmitted
    | ModelRefused
    | PromoteModel
    | RollBackModel
    | ModelPromoted
    | ModelRolledBack
    | ModelRetired
    | SwapRefused
    | CoverageChanged
    | DriftChanged
    | GateChanged
    | Intent
    | IntentRefused
    | SubmitOrder
    | CancelOrder
    | AmendProtection
    | OrderAccepted
    | OrderRejected
    | OrderCancelled
    | OrderExpired
    | OrderUnknown
    | OrderFilled
    | ProtectionChanged
    | SwapCharged
    | AccountSnapshot
    | ForeignChanged
    | BalanceMoved
    | LinkChanged
    | HaltTrading
    | ResumeTrading
    | HaltLatched
    | HaltLifted
    | ResumeRefused
    | ReconcileFound
    | RunStarted
    | RunResumed
    | RunEnded
    | AlertRaised
    | AlertCleared
    | NewsScheduled
    | TrainingStarted
    | TrainingProgressed
    | TrainingSaved
    | TrainingEnded
    | ModelsPublished
)
"""The tagged union that the codec encodes and decodes."""

VenueCommand = SubmitOrder | CancelOrder | AmendProtection
"""What a broker adapter must be able to carry out."""

VenueFact = (
    OrderAccepted
    | OrderRejected
    | OrderCancelled
    | OrderExpired
    | OrderUnknown
    | OrderFilled
    | ProtectionChanged
    | SwapCharged
    | ForeignChanged
    | BalanceMoved
)
"""What a broker adapter tells about orders, positions and money."""

"""The projection's tables. Money is in the account's smallest unit, prices in 1/100000, volumes in 1/100, times UTC ns.

Every table carries `run_id` and a key that the journal itself gives (a deal id, an order id, a sequence number), so
that writing the same fact twice finds the row of the first time.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()


def _key(name: str) -> Column[str]:
    return Column(name, String(128), primary_key=True)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _name(name: str) -> Column[str]:
    return Column(name, String(128), nullable=False)


def _words(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


runs = Table(
    "runs",
    metadata,
    _key("run_id"),
    _name("mode"),
    _name("currency"),
    Column("money_digits", Integer, nullable=False),
    Column("leverage", Integer, nullable=False),
    Column("hedged", Boolean, nullable=False),
    _number("period_ns"),
    _words("symbols"),
    _number("start_balance", nullable=True),
    _number("balance", nullable=True),
    Column("resumes", Integer, nullable=False),
    _number("started_ns"),
    _number("ended_ns", nullable=True),
    _words("end_reason"),
)

orders = Table(
    "orders",
    metadata,
    _key("run_id"),
    _key("client_order_id"),
    _number("seq"),
    _name("order_id"),
    _name("intent_id"),
    _name("strategy"),
    _name("symbol"),
    Column("side", Integer, nullable=False),
    _name("order_type"),
    _number("volume_e2"),
    _number("filled_e2"),
    _number("reference_e5"),
    _number("limit_e5"),
    _number("trigger_e5"),
    _number("stop_loss_e5"),
    _number("take_profit_e5"),
    _number("trailing_e5"),
    _name("position_id"),
    _words("reason"),
    _name("status"),
    _name("code"),
    _words("text"),
    _number("sent_ns"),
    _number("updated_ns"),
)

deals = Table(
    "deals",
    metadata,
    _key("run_id"),
    _key("deal_id"),
    _number("seq"),
    _name("client_order_id"),
    _name("order_id"),
    _name("position_id"),
    _name("symbol"),
    Column("side", Integer, nullable=False),
    _number("volume_e2"),
    _number("price_e5"),
    Column("closing", Boolean, nullable=False),
    _name("cause"),
    _number("level_e5"),
    _number("remaining_e2"),
    _number("commission"),
    _number("gross_profit"),
    _number("booked_commission"),
    _number("booked_swap"),
    _number("conversion_fee"),
    _number("balance"),
    _number("bid_e5"),
    _number("ask_e5"),
    _number("ts_event_ns"),
)

positions = Table(
    "positions",
    metadata,
    _key("run_id"),
    _key("position_id"),
    _number("seq"),
    _name("symbol"),
    Column("side", Integer, nullable=False),
    _name("strategy"),
    _name("client_order_id"),
    _number("volume_e2"),
    _number("opened_e2"),
    _number("entry_e5"),
    _number("stop_loss_e5"),
    _number("take_profit_e5"),
    _number("trailing_e5"),
    _number("swap"),
    _number("opened_ns"),
    _number("closed_ns", nullable=True),
)

trades = Table(
    "trades",
    metadata,
    _key("run_id"),
    _key("deal_id"),
    _number("seq"),
    _name("position_id"),
    _name("symbol"),
    Column("side", Integer, nullable=False),
    _name("strategy"),
    _number("volume_e2"),
    _number("entry_e5", nullable=True),
    _number("exit_e5"),
    _number("opened_ns", nullable=True),
    _number("closed_ns"),
    _name("cause"),
    _number("gross_profit"),
    _number("commission"),
    _number("swap"),
    _number("conversion_fee"),
    _number("net_profit"),
)

forecasts = Table(
    "forecasts",
    metadata,
    _key("run_id"),
    _key("symbol"),
    _key("model_id"),
    Column("horizon", Integer, primary_key=True),
    Column("as_of_ns", BigInteger, primary_key=True, autoincrement=False),
    _number("seq"),
    Column("active", Boolean, nullable=False),
    _number("close_e5"),
    _number("point_e5"),
    _number("sigma_e5"),
    _number("actual_e5"),
    Column("level_ppm", Integer, nullable=True),
    _number("lower_e5", nullable=True),
    _number("upper_e5", nullable=True),
    Column("covered", Boolean, nullable=True),
    _words("bands"),
    _number("resolved_ns"),
)

refusals = Table(
    "refusals",
    metadata,
    _key("run_id"),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _name("intent_id"),
    _name("strategy"),
    _name("symbol"),
    _name("rule"),
    _words("limit_text"),
    _words("value_text"),
    _words("would_pass"),
    _number("ts_ns"),
)

halts = Table(
    "halts",
    metadata,
    _key("run_id"),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("level", Integer, nullable=False),
    _name("rule"),
    _words("limit_text"),
    _words("value_text"),
    _words("reason"),
    _number("latched_ns"),
    _number("lifted_ns", nullable=True),
    _name("lifted_by"),
    _words("lift_reason"),
)

projection_state = Table(
    "projection_state",
    metadata,
    _key("run_id"),
    _number("last_seq"),
)

Index("deals_by_position", deals.c.run_id, deals.c.position_id)
Index("trades_by_time", trades.c.run_id, trades.c.closed_ns)
Index("forecasts_by_time", forecasts.c.run_id, forecasts.c.as_of_ns)

ALL = (runs, orders, deals, positions, trades, forecasts, refusals, halts, projection_state)

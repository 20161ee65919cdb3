"""The first shape of the projection: runs, orders, deals, positions, trades, forecasts, refusals, halts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "deals",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("deal_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.String(length=128), nullable=False),
        sa.Column("order_id", sa.String(length=128), nullable=False),
        sa.Column("position_id", sa.String(length=128), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("volume_e2", sa.BigInteger(), nullable=False),
        sa.Column("price_e5", sa.BigInteger(), nullable=False),
        sa.Column("closing", sa.Boolean(), nullable=False),
        sa.Column("cause", sa.String(length=128), nullable=False),
        sa.Column("level_e5", sa.BigInteger(), nullable=False),
        sa.Column("remaining_e2", sa.BigInteger(), nullable=False),
        sa.Column("commission", sa.BigInteger(), nullable=False),
        sa.Column("gross_profit", sa.BigInteger(), nullable=False),
        sa.Column("booked_commission", sa.BigInteger(), nullable=False),
        sa.Column("booked_swap", sa.BigInteger(), nullable=False),
        sa.Column("conversion_fee", sa.BigInteger(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("bid_e5", sa.BigInteger(), nullable=False),
        sa.Column("ask_e5", sa.BigInteger(), nullable=False),
        sa.Column("ts_event_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "deal_id"),
    )
    op.create_index("deals_by_position", "deals", ["run_id", "position_id"], unique=False)
    op.create_table(
        "forecasts",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("model_id", sa.String(length=128), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("as_of_ns", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("close_e5", sa.BigInteger(), nullable=False),
        sa.Column("point_e5", sa.BigInteger(), nullable=False),
        sa.Column("sigma_e5", sa.BigInteger(), nullable=False),
        sa.Column("actual_e5", sa.BigInteger(), nullable=False),
        sa.Column("level_ppm", sa.Integer(), nullable=True),
        sa.Column("lower_e5", sa.BigInteger(), nullable=True),
        sa.Column("upper_e5", sa.BigInteger(), nullable=True),
        sa.Column("covered", sa.Boolean(), nullable=True),
        sa.Column("bands", sa.Text(), nullable=False),
        sa.Column("resolved_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "symbol", "model_id", "horizon", "as_of_ns"),
    )
    op.create_index("forecasts_by_time", "forecasts", ["run_id", "as_of_ns"], unique=False)
    op.create_table(
        "halts",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=128), nullable=False),
        sa.Column("limit_text", sa.Text(), nullable=False),
        sa.Column("value_text", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("latched_ns", sa.BigInteger(), nullable=False),
        sa.Column("lifted_ns", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.String(length=128), nullable=False),
        sa.Column("lift_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq"),
    )
    op.create_table(
        "orders",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("client_order_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.String(length=128), nullable=False),
        sa.Column("intent_id", sa.String(length=128), nullable=False),
        sa.Column("strategy", sa.String(length=128), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("order_type", sa.String(length=128), nullable=False),
        sa.Column("volume_e2", sa.BigInteger(), nullable=False),
        sa.Column("filled_e2", sa.BigInteger(), nullable=False),
        sa.Column("reference_e5", sa.BigInteger(), nullable=False),
        sa.Column("limit_e5", sa.BigInteger(), nullable=False),
        sa.Column("trigger_e5", sa.BigInteger(), nullable=False),
        sa.Column("stop_loss_e5", sa.BigInteger(), nullable=False),
        sa.Column("take_profit_e5", sa.BigInteger(), nullable=False),
        sa.Column("trailing_e5", sa.BigInteger(), nullable=False),
        sa.Column("position_id", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=128), nullable=False),
        sa.Column("code", sa.String(length=128), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_ns", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "client_order_id"),
    )
    op.create_table(
        "positions",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("position_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.String(length=128), nullable=False),
        sa.Column("client_order_id", sa.String(length=128), nullable=False),
        sa.Column("volume_e2", sa.BigInteger(), nullable=False),
        sa.Column("opened_e2", sa.BigInteger(), nullable=False),
        sa.Column("entry_e5", sa.BigInteger(), nullable=False),
        sa.Column("stop_loss_e5", sa.BigInteger(), nullable=False),
        sa.Column("take_profit_e5", sa.BigInteger(), nullable=False),
        sa.Column("trailing_e5", sa.BigInteger(), nullable=False),
        sa.Column("swap", sa.BigInteger(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "position_id"),
    )
    op.create_table(
        "projection_state",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "refusals",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("intent_id", sa.String(length=128), nullable=False),
        sa.Column("strategy", sa.String(length=128), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("rule", sa.String(length=128), nullable=False),
        sa.Column("limit_text", sa.Text(), nullable=False),
        sa.Column("value_text", sa.Text(), nullable=False),
        sa.Column("would_pass", sa.Text(), nullable=False),
        sa.Column("ts_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("mode", sa.String(length=128), nullable=False),
        sa.Column("currency", sa.String(length=128), nullable=False),
        sa.Column("money_digits", sa.Integer(), nullable=False),
        sa.Column("leverage", sa.Integer(), nullable=False),
        sa.Column("hedged", sa.Boolean(), nullable=False),
        sa.Column("period_ns", sa.BigInteger(), nullable=False),
        sa.Column("symbols", sa.Text(), nullable=False),
        sa.Column("start_balance", sa.BigInteger(), nullable=True),
        sa.Column("balance", sa.BigInteger(), nullable=True),
        sa.Column("resumes", sa.Integer(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "trades",
        sa.Column("run_id", sa.String(length=128), nullable=False),
        sa.Column("deal_id", sa.String(length=128), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("position_id", sa.String(length=128), nullable=False),
        sa.Column("symbol", sa.String(length=128), nullable=False),
        sa.Column("side", sa.Integer(), nullable=False),
        sa.Column("strategy", sa.String(length=128), nullable=False),
        sa.Column("volume_e2", sa.BigInteger(), nullable=False),
        sa.Column("entry_e5", sa.BigInteger(), nullable=True),
        sa.Column("exit_e5", sa.BigInteger(), nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=True),
        sa.Column("closed_ns", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.String(length=128), nullable=False),
        sa.Column("gross_profit", sa.BigInteger(), nullable=False),
        sa.Column("commission", sa.BigInteger(), nullable=False),
        sa.Column("swap", sa.BigInteger(), nullable=False),
        sa.Column("conversion_fee", sa.BigInteger(), nullable=False),
        sa.Column("net_profit", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "deal_id"),
    )
    op.create_index("trades_by_time", "trades", ["run_id", "closed_ns"], unique=False)
    # ### end Alembic commands ###


def downgrade() -> None:
    """Remove them."""
    op.drop_index("trades_by_time", table_name="trades")
    op.drop_table("trades")
    op.drop_table("runs")
    op.drop_table("refusals")
    op.drop_table("projection_state")
    op.drop_table("positions")
    op.drop_table("orders")
    op.drop_table("halts")
    op.drop_index("forecasts_by_time", table_name="forecasts")
    op.drop_table("forecasts")
    op.drop_index("deals_by_position", table_name="deals")
    op.drop_table("deals")
    # ### end Alembic commands ###

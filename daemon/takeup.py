"""Takes up what an earlier process of a live run left: its journal, and what it may have sent.

Theory of operation. Recovery is the same path as every start, with the journal in front: `recover` takes the core and
the adapter's account through what an earlier process recorded, sends nothing, and names every command whose answer
never came as of unknown outcome. The connection then tells what was missed and how things stand, as after any loss.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from bus.clock import Clock, ManualClock
from bus.messages import (
    AnyMessage,
    CancelOrder,
    LinkChanged,
    RunResumed,
    SubmitOrder,
    VenueCommand,
)
from daemon.engine import Engine, Watch
from risk.orders import OrderStatus

_BREATH_S = 0.2
_TICK_S = 1.0
_TICK_OFFSET_S = 0.5
_LOOK_AGAIN_S = 0.001
_LAST_LOOK_S = 10.0
"""How long a stop waits for a last snapshot, and for positions to close where they are to be closed."""


class Remembering(Protocol):
    """An adapter's account, as a recovery sees it."""

    def resume(self, message: Any) -> None:
        """Take up one message of an earlier life's journal."""
        ...

    def unknown(self, command: VenueCommand, now_ns: int) -> Sequence[AnyMessage]:
        """A command was written and its answer will not come."""
        ...


def take_up(
    journal: Path, account: Remembering, clock: Clock, *, fresh: Callable[[], Sequence[AnyMessage]] | None,
    watch: Sequence[Watch],
) -> tuple[Engine, Sequence[AnyMessage]]:  # fmt: skip
    """Open a journal and find out what to say first.

    Args:
        journal: its folder.
        account: is taken through what an earlier process sent and was told.
        clock: in recorded time it is moved to where the journal ends.
        fresh: the messages that start a run; None = the journal's run goes on.
        watch: is told everything, what is on record included.

    Raises:
        InvariantBroken: the journal cannot be gone through again.
    """
    if fresh is not None:
        return Engine(journal, watch=watch), fresh()
    engine = Engine(journal, watch=[lambda _, message: account.resume(message), *watch])
    open_ones = recover(engine)
    engine.watch_only(watch)
    if isinstance(clock, ManualClock):
        clock.advance_to(engine.core.now_ns)
    now_ns = clock.now_ns()
    return engine, [
        RunResumed(reason="continued", ts_init_ns=now_ns),
        LinkChanged(up=False, reason="the process was not running", ts_init_ns=now_ns),
        *(fact for command in open_ones for fact in account.unknown(command, now_ns)),
    ]


def recover(engine: Engine) -> list[VenueCommand]:
    """Take the core, and whoever watches the engine, through what an earlier process recorded. Nothing is sent.

    Returns:
        Commands whose answer is not on record: they may or may not have reached the venue, and are of unknown outcome.

    Raises:
        InvariantBroken: the core says something else than it said then.
    """
    commands: dict[str, VenueCommand] = {}
    while (message := engine.next_recorded()) is not None:
        for each in engine.step(message):
            if isinstance(each, SubmitOrder | CancelOrder):
                commands[f"{type(each).__name__} {each.client_order_id}"] = each
    open_ones: list[VenueCommand] = []
    for order in engine.core.book.orders.values():
        sent = commands.get(f"SubmitOrder {order.client_order_id}")
        if order.status in {OrderStatus.SENT, OrderStatus.UNKNOWN} and sent is not None:
            open_ones.append(sent)
        cancel = commands.get(f"CancelOrder {order.client_order_id}")
        if order.cancelling and cancel is not None:
            open_ones.append(cancel)
    return open_ones

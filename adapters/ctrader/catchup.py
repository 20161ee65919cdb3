"""What was missed, read from the broker: one way for the start, a crash, a lost connection and a routine look.

Theory of operation. Lists first (deals, orders, the details of orders that nothing explains, cash), figures last
(account, positions): so that whatever the figures contain has been listed. If they do not meet, something happened in
between, and all is read again, up to MOST_ROUNDS times; then the venue's figures count as they are, and the core's own
comparison says what differs. Events that arrive before the first state is known wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from adapters.ctrader import listing
from adapters.ctrader.account import Account, Told
from adapters.ctrader.catalogue import Ask
from adapters.ctrader.messages import openapi
from adapters.ctrader.symbols import Specification
from bus.clock import Clock, ManualClock
from bus.errors import DataError, Refused
from bus.messages import AccountSnapshot, Bar
from bus.values import NS_PER_MS

MOST_ROUNDS = 8
PAUSES_S = (0.2, 0.5, 1, 2, 5, 10)
"""Waits before the second, third … attempt; the last stands for all that follow."""


def pause_s(attempt: int) -> float:
    """The wait after an attempt, counted from 0."""
    return PAUSES_S[min(attempt, len(PAUSES_S) - 1)]


class CatchUp:
    """Brings an account up to date.

    Attributes:
        begun: whether the account has a first state; events before that wait in `early`.
        early: events and the numbers of the requests that they answered.
    """

    def __init__(self, ask: Ask, account: Account, account_id: int, clock: Clock) -> None:
        """Prepare.

        Args:
            ask: for the logged-in account.
            account: what is brought up to date.
            account_id: ctidTraderAccountId.
            clock: UTC; a `ManualClock` at 0 does not know the time yet.
        """
        self.begun = False
        self.early: list[tuple[Any, int]] = []
        self._ask = ask
        self._account = account
        self._account_id = account_id
        self._clock = clock
        self._last: AccountSnapshot | None = None

    async def reconcile(
        self, tell: Callable[[Sequence[Told]], None], fold: Callable[[Any, int], None], *, routine: bool = False
    ) -> None:
        """Read until all meets, and tell what was missed and how things stand.

        Args:
            tell: takes facts and the snapshot.
            fold: takes an event that waited for the first state.
            routine: a snapshot that says again what the last one said is not told again.

        Raises:
            BrokerError: as `Connection.request`.
            DataError: the broker tells something impossible.
        """
        for attempt in range(MOST_ROUNDS):
            if self.begun:
                told = await self._missed(final=attempt == MOST_ROUNDS - 1)
                tell(self._unrepeated(told) if routine else told)
            else:
                told = await self._first()
                tell(told)
                early, self.early = self.early, []
                for message, answered in early:
                    fold(message, answered)
            snapshot = next((each for each in told if isinstance(each, AccountSnapshot)), None)
            if snapshot is not None:
                self._last = snapshot
                if not self._account.needs_recovery:
                    await self._learn_leverage()
                    return
            await asyncio.sleep(pause_s(attempt))

    async def _learn_leverage(self) -> None:
        """Ask what margin the broker expects, where that is the only way to know how it tells dynamic leverage."""
        valuation = self._account.valuation
        for number, *volumes_e2 in valuation.wonders:
            request = openapi.ProtoOAExpectedMarginReq(
                ctidTraderAccountId=self._account_id, symbolId=number, volume=volumes_e2
            )
            try:
                valuation.margin_expected(number, await self._ask(request))
            except (Refused, DataError):
                continue  # a price is not there yet, or the market is closed: the next look asks again

    async def _first(self) -> list[Told]:
        now_ms = self._now_ms()
        deals: list[Any] = []
        if now_ms:
            # Twice as far back as is ever asked again: what came before is known, and is never told as missed.
            deals = await listing.deals(self._ask, self._account_id, now_ms - 2 * listing.DAY_MS, now_ms)
        trader, reconcile = await self._figures()
        self.begun = True
        return self._account.begin(trader, reconcile, deals, self._clock.now_ns())

    async def _missed(self, *, final: bool) -> list[Told]:
        ask, account, account_id, now_ms = self._ask, self._account, self._account_id, self._now_ms()
        since_ms = max(0, account.history_from_ms - listing.OVERLAP_MS)
        deals = await listing.deals(ask, account_id, since_ms, now_ms)
        orders = await listing.orders(ask, account_id, since_ms, now_ms)
        orders += await listing.details(ask, account_id, account.unexplained)
        cash = await listing.cash(ask, account_id, since_ms, now_ms)
        trader, reconcile = await self._figures()
        return account.recover(deals, orders, trader, reconcile, self._clock.now_ns(), cash=cash, final=final)

    async def _figures(self) -> tuple[Any, Any]:
        trader = await self._ask(openapi.ProtoOATraderReq(ctidTraderAccountId=self._account_id))
        reconcile = await self._ask(listing.reconcile_request(self._account_id))
        return trader.trader, reconcile

    def _unrepeated(self, told: Sequence[Told]) -> Sequence[Told]:
        """A snapshot that says again what the last one said settles nothing and need not be written down again."""
        if len(told) != 1 or self._last is None or self._account.in_doubt:
            return told
        (snapshot,) = told
        same = isinstance(snapshot, AccountSnapshot) and _timeless(snapshot) == _timeless(self._last)
        return () if same else told

    async def bars(self, specification: Specification, period_ns: int, since_ns: int) -> list[Bar]:
        """Bars of a symbol from a moment on, the one in the making last.

        Recorded time that nobody knows yet begins where the newest bar ends.
        """
        clock = self._clock
        if not isinstance(clock, ManualClock) or clock.now_ns():
            return await listing.bars(
                self._ask, self._account_id, specification, period_ns, since_ns=since_ns, now_ns=clock.now_ns()
            )
        found = await listing.newest_bars(self._ask, self._account_id, specification, period_ns)
        if found:
            clock.advance_to(found[-1].ts_close_ns)
        return found

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS


def _timeless(snapshot: AccountSnapshot) -> AccountSnapshot:
    return msgspec.structs.replace(snapshot, ts_event_ns=0, ts_init_ns=0)

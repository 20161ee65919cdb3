"""Parity: what happened, held against what should have happened, and every difference by its kind and its money.

Theory of operation. `rerun` gives the day as it should have been; `Story` reads both tellings. Entries are paired by
what they wanted on which forecast. Each pair that differs gives one difference a leg and kind, and their money adds up
exactly to what the pair is worth more or less than it should be; so all of them together are the whole difference of
the two days. The kinds:

    latency     the market moved between the decision and the deal
    price       a deal away from the price on record, a level that was executed otherwise, charges
    rejection   the venue refused, filled less or never answered; or the order could not leave
    operator    a person halted, or closed
    model       a forecast was late or missing, or another than the model gives now
    unknown     nothing of this explains it

What only follows from an earlier difference (another position was open, another equity was sized on) is of that one's
kind and names it. A deal that came later at the same price is no difference; such are counted as `delayed`.

One file past 400 lines, because what explains a difference is one chain of questions in one order.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from bus.calendar import to_datetime
from bus.messages import OrderFilled
from daemon.answers import Answer
from daemon.journal import Record
from daemon.rerun import Rerun, rerun
from daemon.story import Entry, Key, Story

Kind = Literal["latency", "price", "rejection", "operator", "model", "unknown"]
KINDS: tuple[Kind, ...] = ("latency", "price", "rejection", "operator", "model", "unknown")

CANNOT_LEAVE = {"connection", "unknown_outcome"}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. `money` is what happened less what should have, in the account's smallest unit.

    `what` is `entry`, `exit`, `size`, `charges`, `missing` (not traded, and should have been), `extra` (the reverse) or
    `answer` (neither traded, for another reason). `follows` is the number of the difference from which it follows, 0 =
    it stands for itself.
    """

    number: int
    kind: Kind
    what: str
    ts_ns: int
    strategy: str
    symbol: str
    side: int
    model_id: str
    intent_id: str
    position_id: str
    happened: str
    should: str
    money: int
    follows: int = 0


class KindRow(msgspec.Struct, frozen=True, kw_only=True):
    """All differences of a kind."""

    kind: Kind
    n: int
    money: int


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found. The money of the differences adds up to `net_happened` - `net_should`, exactly.

    Both count what entries booked and float, from the time's beginning on where nothing was open before it. `venue` is
    how the simulated venue executed.
    """

    agrees: bool
    run_id: str
    mode: str
    currency: str
    money_digits: int
    ts_from_ns: int
    ts_to_ns: int
    entries: int
    delayed: int
    net_happened: int
    net_should: int
    by_kind: tuple[KindRow, ...]
    differences: tuple[Difference, ...]
    venue: str


class _Part(msgspec.Struct, kw_only=True):
    """A piece of what a pair differs in; `money` None = takes what is left."""

    kind: Kind
    what: str
    ts_ns: int
    happened: str
    should: str
    money: int | None
    follows: int = 0


def parity(
    records: Iterable[Record],
    *,
    from_ns: int = 0,
    until_ns: int = 2**63 - 1,
    answers: Mapping[str, Sequence[Answer]] | None = None,
) -> Parity:
    """Run a journal, or a part of it, again and compare; see `daemon.rerun.rerun` for arguments and errors."""
    return compare(rerun(records, from_ns=from_ns, until_ns=until_ns, answers=answers))


def compare(again: Rerun) -> Parity:
    """Hold both tellings of a day against one another."""
    return _Comparison(again).result()


class _Comparison:
    """See the module's theory of operation."""

    def __init__(self, again: Rerun) -> None:
        self._again = again
        self._happened, self._should = Story(again.happened), Story(again.should)
        self._found: list[Difference] = []
        self._last_of: dict[str, Difference] = {}
        self._delayed = 0

    def result(self) -> Parity:
        """Compare pair by pair, in order of time."""
        again = self._again
        pairs = _paired(self._happened, self._should, again.run.period_ns)
        net_happened = net_should = 0
        for ours, theirs in pairs:
            worth = self._happened.value(ours) if ours is not None else 0
            due = self._should.value(theirs) if theirs is not None else 0
            net_happened += worth
            net_should += due
            parts = self._pair(ours, theirs, worth - due)
            self._tell(parts, ours, theirs, worth - due)
        return Parity(
            agrees=not self._found,
            run_id=again.run.run_id,
            mode=again.run.mode,
            currency=again.run.currency,
            money_digits=again.run.money_digits,
            ts_from_ns=again.taken_over_ns,
            ts_to_ns=again.ended_ns,
            entries=len(pairs),
            delayed=self._delayed,
            net_happened=net_happened,
            net_should=net_should,
            by_kind=tuple(
                KindRow(
                    kind=kind,
                    n=sum(each.kind == kind for each in self._found),
                    money=sum(each.money for each in self._found if each.kind == kind),
                )
                for kind in KINDS
            ),
            differences=tuple(self._found),
            venue=msgspec.json.encode(again.model).decode(),
        )

    # --- one pair ----------------------------------------------------------------------------------------------

    def _pair(self, ours: Entry | None, theirs: Entry | None, change: int) -> list[_Part]:
        traded = ours is not None and ours.outcome == "traded"
        due = theirs is not None and theirs.outcome == "traded"
        if ours is not None and theirs is not None and traded and due:
            return self._both(ours, theirs, change)
        if not traded and not due:
            return self._neither(ours, theirs)
        part = self._missing(ours, theirs) if due else self._extra(ours, theirs)
        return [part]

    def _missing(self, ours: Entry | None, theirs: Entry | None) -> _Part:
        """Should have been traded, and was not."""
        assert theirs is not None
        part = self._why_not(ours, theirs)
        part.what, part.should = "missing", _words(theirs)
        return part

    def _why_not(self, ours: Entry | None, theirs: Entry) -> _Part:
        ts_ns = theirs.ts_ns if ours is None else ours.ts_ns
        said = _words(ours)
        if ours is None:
            return self._because_of_models(theirs) or self._following(theirs, said)
        if ours.refused is not None:
            if ours.refused.rule == "halt":
                who = self._happened.halted_by(ours.refused.ts_init_ns)
                if who:
                    return _part("operator", ts_ns, f"{said}, halted by {who}")
            if ours.refused.rule in CANNOT_LEAVE:
                return _part("rejection", ts_ns, said)
            return self._following(theirs, said)
        return _part("rejection", ts_ns, said)  # the venue refused it, let it end unfilled, or never answered

    def _extra(self, ours: Entry | None, theirs: Entry | None) -> _Part:
        """Was traded, and should not have been."""
        assert ours is not None
        said = _words(theirs)
        if theirs is None:
            if ours.order is None and ours.opened:
                part = _part("operator", ours.ts_ns, "")  # nobody here ordered it
            else:
                part = self._because_of_models(ours) or self._following(ours, "")
        elif theirs.outcome in {"rejected", "unfilled"}:
            part = _part("rejection", ours.ts_ns, "")
        else:
            part = self._following(ours, "")
        part.what, part.happened, part.should = "extra", _words(ours), said
        return part

    def _neither(self, ours: Entry | None, theirs: Entry | None) -> list[_Part]:
        """No money, but perhaps another reason."""
        if ours is not None and theirs is not None:
            if (ours.outcome, _why(ours)) == (theirs.outcome, _why(theirs)):
                return []
            part = self._why_not(ours, theirs)
        else:
            one = ours or theirs
            assert one is not None
            part = self._because_of_models(one) or self._following(one, "")
        part.what, part.happened, part.should = "answer", _words(ours), _words(theirs)
        return [part]

    def _because_of_models(self, entry: Entry) -> _Part | None:
        request_id = entry.request_id
        if not request_id:
            return None
        late = (request_id, entry.model_id) in self._again.late
        if late or request_id in self._again.replaced:
            why = "its forecast came too late" if late else "its forecast is another now"
            return _part("model", entry.ts_ns, f"no wish to enter: {why}")
        return None

    def _following(self, entry: Entry, said: str) -> _Part:
        """What nothing of its own explains follows from the last difference of its symbol, or of any, before it."""
        before = self._last_of.get(entry.symbol) or (self._found[-1] if self._found else None)
        if before is None:
            return _part("unknown", entry.ts_ns, said)
        part = _part(before.kind, entry.ts_ns, said)
        part.follows = before.number
        return part

    # --- both traded -------------------------------------------------------------------------------------------

    def _both(self, ours: Entry, theirs: Entry, change: int) -> list[_Part]:
        parts = [*self._size(ours, theirs), *self._leg("entry", ours, ours.opened, theirs.opened)]
        causes = _exit_words(self._happened, ours), _exit_words(self._should, theirs)
        if causes[0] == causes[1]:
            parts += self._leg("exit", ours, ours.closed, theirs.closed)
        else:
            parts.append(self._other_exit(ours, theirs, *causes))
        if not parts and change:
            parts.append(
                _Part(
                    kind="price", what="charges", ts_ns=ours.ts_ns, happened=_charges(ours), should=_charges(theirs),
                    money=None,
                )
            )  # fmt: skip
        return parts

    def _size(self, ours: Entry, theirs: Entry) -> list[_Part]:
        if ours.filled_e2 == theirs.filled_e2:
            return []
        wanted = ours.order.volume_e2 if ours.order else ours.filled_e2
        due = theirs.order.volume_e2 if theirs.order else theirs.filled_e2
        part = _part("rejection", ours.ts_ns, "") if wanted == due else self._following(ours, "")
        part.what = "size"
        part.happened, part.should = f"{ours.filled_e2} of {wanted}", f"{theirs.filled_e2} of {due}"
        return [part]

    def _leg(self, what: str, entry: Entry, mine: list[OrderFilled], due: list[OrderFilled]) -> list[_Part]:
        """Both made deals here: how far apart, because the market had moved, or because of the deal itself."""
        volume_e2 = sum(deal.volume_e2 for deal in mine)
        due_e2 = sum(deal.volume_e2 for deal in due)
        if not volume_e2 or not due_e2:
            return []
        side = mine[0].side
        price, should = _average(mine, "price"), _average(due, "price")
        touch, touch_due = _average(mine, "touch"), _average(due, "touch")
        later = mine[0].ts_event_ns > due[0].ts_event_ns
        self._delayed += later and price == should
        if price == should:
            return []
        moved = (touch_due - touch) * side if later else 0.0
        beyond = (should - price) * side - moved
        parts: list[_Part] = []
        for kind, away in (("latency", moved), ("price", beyond)):
            if round(away * 1_000):
                parts.append(
                    _Part(
                        kind=kind,  # type: ignore[arg-type]
                        what=what,
                        ts_ns=mine[0].ts_event_ns,
                        happened=_deals(mine, price),
                        should=_deals(due, should),
                        money=self._happened.worth(entry.symbol, 1, round(away * volume_e2)),
                    )
                )
        return parts

    def _other_exit(self, ours: Entry, theirs: Entry, happened: str, should: str) -> _Part:
        """They did not end the same way."""
        last = ours.closed[-1] if ours.closed else None
        ts_ns = last.ts_event_ns if last else self._again.ended_ns
        order = self._happened.exit_of(ours)
        due_ns = theirs.closed[-1].ts_event_ns if theirs.closed else self._again.ended_ns
        by_hand = last is not None and last.cause == "order" and order is None
        halted = order is not None and self._happened.halted_by(order.ts_init_ns)
        if by_hand or halted:
            part = _part("operator", ts_ns, happened)
        elif any(fact.ts_init_ns >= min(due_ns, ts_ns) or fact.ts_init_ns <= ts_ns for fact in ours.exits_rejected):
            part = _part("rejection", ts_ns, happened)
        elif self._levels_differ(ours, theirs):
            part = _part("price", ts_ns, happened)
        else:
            part = self._following(ours, happened)
        part.what, part.happened, part.should = "exit", happened, should
        return part

    @staticmethod
    def _levels_differ(ours: Entry, theirs: Entry) -> bool:
        """Whether one was ended by a level at the venue, and the other not by that."""
        return any(entry.closed and entry.closed[-1].cause != "order" for entry in (ours, theirs))

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell(self, parts: list[_Part], ours: Entry | None, theirs: Entry | None, change: int) -> None:
        """Number the parts; what they do not account for goes to the one without a figure, or else to the largest."""
        if not parts:
            return
        entry = ours or theirs
        assert entry is not None
        rest = change - sum(part.money or 0 for part in parts)
        open_ones = [part for part in parts if part.money is None]
        taker = open_ones[0] if open_ones else max(parts, key=lambda part: abs(part.money or 0))
        for part in parts:
            difference = Difference(
                number=len(self._found) + 1,
                kind=part.kind,
                what=part.what,
                ts_ns=part.ts_ns,
                strategy=entry.strategy,
                symbol=entry.symbol,
                side=entry.side,
                model_id=entry.model_id,
                intent_id=entry.intent_id,
                position_id=entry.position_id,
                happened=part.happened,
                should=part.should,
                money=(part.money or 0) + (rest if part is taker else 0),
                follows=part.follows,
            )
            self._found.append(difference)
            self._last_of[entry.symbol] = difference


def _paired(happened: Story, should: Story, within_ns: int) -> list[tuple[Entry | None, Entry | None]]:
    """Entries of both by what they wanted; those without a forecast by the nearest moment as well. In order of time."""
    ours, theirs = dict(happened.entries), dict(should.entries)
    pairs: list[tuple[Entry | None, Entry | None]] = [
        (ours.pop(key), theirs.pop(key)) for key in list(ours) if key in theirs
    ]
    for key in list(ours):
        if not key[3].startswith("@"):
            continue
        near = [other for other in theirs if other[:3] == key[:3] and other[3].startswith("@")]
        nearest: Key | None = min(near, key=lambda other: abs(theirs[other].ts_ns - ours[key].ts_ns), default=None)
        if nearest is not None and abs(theirs[nearest].ts_ns - ours[key].ts_ns) < within_ns:
            pairs.append((ours.pop(key), theirs.pop(nearest)))
    pairs += [(entry, None) for entry in ours.values()]
    pairs += [(None, entry) for entry in theirs.values()]
    return sorted(pairs, key=lambda pair: min(entry.ts_ns for entry in pair if entry is not None))


def _part(kind: Kind, ts_ns: int, happened: str) -> _Part:
    return _Part(kind=kind, what="", ts_ns=ts_ns, happened=happened, should="", money=None)


def _average(deals: list[OrderFilled], which: Literal["price", "touch"]) -> float:
    """Volume-weighted price of deals, or of the market's side that they met."""
    volume_e2 = sum(deal.volume_e2 for deal in deals)
    prices = [deal.price_e5 if which == "price" else deal.ask_e5 if deal.side > 0 else deal.bid_e5 for deal in deals]
    return sum(price * deal.volume_e2 for price, deal in zip(prices, deals, strict=True)) / volume_e2


def _deals(deals: list[OrderFilled], price: float) -> str:
    return f"{price:.1f} at {to_datetime(deals[0].ts_event_ns):%H:%M:%S.%f}"


def _charges(entry: Entry) -> str:
    charged = sum(deal.booked_commission + deal.booked_swap + deal.conversion_fee for deal in entry.closed)
    return f"charges {charged}, gross {sum(deal.gross_profit for deal in entry.closed)}"


def _why(entry: Entry) -> str:
    if entry.refused is not None:
        return entry.refused.rule
    return entry.rejected.code if entry.rejected is not None else entry.ended


def _words(entry: Entry | None) -> str:
    """What became of an entry, in words."""
    if entry is None:
        return "no wish to enter"
    if entry.outcome == "traded":
        if not entry.opened:
            return "held from before"
        return f"traded {entry.filled_e2} at {_average(entry.opened, 'price'):.1f}"
    return f"{entry.outcome}: {_why(entry)}" if _why(entry) else entry.outcome


def _exit_words(story: Story, entry: Entry) -> str:
    """How a position ended, in words that are equal where it was the same way."""
    if entry.volume_e2:
        return "still open" if not entry.closed else f"{entry.closed[-1].cause}, partly open"
    if not entry.closed:
        return "no deal"
    cause = entry.closed[-1].cause
    if cause != "order":
        return cause
    order = story.exit_of(entry)
    return f"order: {order.reason}" if order is not None else "order: of nobody here"

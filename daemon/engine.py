"""Record, decide, record, commit, hand on: the one way a message passes through the core, in every mode.

Theory of operation. `step` takes a message from a shell, writes it to the journal, lets the core fold it, writes what
the core said, and, when that holds a command for a venue, makes the journal durable before it returns the command. A
shell that carries out only what `step` returns can therefore never have sent what the journal does not know. A halt
that latches or is lifted, and a model that loses its place, are made durable as well, with or without commands: they
must outlive this process. A promotion is durable with the first order that follows from it.

Recovery is the same path with the journal in front: while records are left from an earlier process, `step` takes each
message the shell produces, sees that it is the one recorded, and that the core says again what it said then. The first
difference ends the process: the books cannot be trusted. When the records run out, the engine goes on writing.

Where the journal cannot be written `step` raises, and nothing has left. A shell with real positions may then call
`go_adrift`: the core halts, and from then on `step` records nothing and gives out what reduces risk alone: cancels and
closes, under ids that no recovery uses. It is for the few seconds until all is closed; the next start learns what was
closed from the venue, as it learns of a stop that was hit while nobody was there.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from bus.codec import encode
from bus.errors import InvariantBroken
from bus.messages import (
    AmendProtection,
    AnyMessage,
    CancelOrder,
    ForecastRequested,
    HaltLatched,
    HaltLevel,
    HaltLifted,
    HaltTrading,
    ModelAdmitted,
    ModelRefused,
    ModelRolledBack,
    OrderRejected,
    PromoteModel,
    ResumeTrading,
    RollBackModel,
    RunResumed,
    SubmitOrder,
    VenueCommand,
)
from daemon.core import DECISIONS, Core
from daemon.journal import INPUT, OUTPUT, Journal, Record, read, segments

Watch = Callable[[int, AnyMessage], None]
"""Reads the audit stream: sequence number and message, inputs and outputs alike. Cannot reach the core."""

COMMANDS = (SubmitOrder, CancelOrder, AmendProtection)

DURABLE = (*COMMANDS, HaltLatched, HaltLifted, ModelRolledBack)
"""What is on the disk before `step` returns."""

# What people and processes do, and no simulation foresees: during recovery these are taken from the journal.
FROM_OUTSIDE = (HaltTrading, ResumeTrading, RunResumed, ModelAdmitted, ModelRefused, PromoteModel, RollBackModel)


def harmless(watch: Watch, note: Callable[[str], None]) -> Watch:
    """A watch that cannot end the run: what it raises is noted, once, and it is told the rest all the same."""
    told = False

    def guarded(seq: int, message: AnyMessage) -> None:
        nonlocal told
        try:
            watch(seq, message)
        except Exception as error:  # noqa: BLE001 (a status page or a bus that fails must not keep orders from leaving)
            if not told:
                told = True
                note(f"a watcher of the audit stream failed at record {seq}: {type(error).__name__}: {error}")

    return guarded


class DecisionHash:
    """SHA-256 over all decisions in order: equal hashes, equal trading."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, messages: Sequence[AnyMessage]) -> None:
        """Take in what the core said in one step."""
        for message in messages:
            if isinstance(message, DECISIONS):
                self._hash.update(encode(message))

    def hexdigest(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


class Engine:
    """A core with its journal."""

    def __init__(self, folder: Path, *, watch: Sequence[Watch] = ()) -> None:
        """Open the journal in a folder; records in it are gone through again by `step`.

        Raises:
            InvariantBroken: the journal's chain does not hold.
        """
        self.core = Core()
        self.decisions = DecisionHash()
        self._watch = tuple(watch)
        earlier = bool(segments(folder))
        self.journal = Journal(folder)
        self._records: Iterator[Record] = read(folder) if earlier else iter(())
        self._next: Record | None = next(self._records, None)
        self.recovered_inputs = 0
        self.recovered_to = self.journal.seq
        self.adrift = False
        self._unrecorded: AnyMessage | None = None
        self._unsent: list[VenueCommand] = []

    def watch_only(self, watch: Sequence[Watch]) -> None:
        """Tell these from now on, and nobody else: what was to be told of the past alone has been."""
        self._watch = tuple(watch)

    @property
    def recovering(self) -> bool:
        """Whether records of an earlier process are still to be gone through."""
        return self._next is not None

    def next_recorded(self) -> AnyMessage | None:
        """The input that recovery expects next, or None when it is done."""
        return None if self._next is None else self._next.message

    def step(self, message: AnyMessage) -> Sequence[VenueCommand | ForecastRequested]:
        """Pass one message through the core.

        Returns:
            What a shell must act on: commands (already durable) and forecast requests. During recovery too: a shell
            with a simulated venue rebuilds it from them; a shell with a real one must not send them again.

        Raises:
            InvariantBroken: during recovery, the message or the answer is not the recorded one.
            OSError: the journal cannot be written; nothing may leave.
        """
        if self._next is not None:
            return self._again(message)
        if self.adrift:
            return self._step_adrift(message)
        try:
            seq = self.journal.append(INPUT, message)
        except OSError:
            self._unrecorded = message
            raise
        said = self.core.process(seq, message)
        if not said:
            for watch in self._watch:
                watch(seq, message)
            return said  # type: ignore[return-value]  # empty
        return self._hand_on(seq, message, said)

    def _hand_on(
        self, seq: int, message: AnyMessage, said: Sequence[AnyMessage], written: int = 0
    ) -> Sequence[VenueCommand | ForecastRequested]:
        """Journal what was said (all but the first `written` messages), tell the watchers, pick what leaves."""
        self._unsent = [each for each in said if isinstance(each, COMMANDS)]
        self.decisions.add(said)
        for watch in self._watch:
            watch(seq, message)
        leaving: list[VenueCommand | ForecastRequested] = []
        commit = False
        at = seq
        for each in said:
            if isinstance(each, ForecastRequested):  # a function of the bars before it: not worth its bytes
                leaving.append(each)
                continue
            at += 1
            if at > seq + written:
                at = self.journal.append(OUTPUT, each)
            if isinstance(each, DURABLE):
                commit = True
                if isinstance(each, COMMANDS):
                    leaving.append(each)
            for watch in self._watch:
                watch(at, each)
        if commit:
            self.journal.commit()
        return leaving

    # --- without a journal -------------------------------------------------------------------------------------

    def go_adrift(self, error: OSError, level: HaltLevel) -> Sequence[VenueCommand]:
        """`step` has raised: halt without a record, and go on without one.

        Returns:
            What is to be cancelled and closed now.
        """
        self.adrift = True
        now_ns = self.core.now_ns
        unsent, self._unsent = self._unsent, []
        unrecorded, self._unrecorded = self._unrecorded, None
        leaving = list(self._step_adrift(unrecorded)) if unrecorded is not None else []
        self.core.adrift()
        # What the failing step decided never left; it is decided anew, under another id, where it reduces risk.
        for command in [] if unrecorded is not None else unsent:
            if not isinstance(command, AmendProtection):
                leaving += self._step_adrift(
                    OrderRejected(
                        client_order_id=command.client_order_id,
                        symbol=command.symbol,
                        code="NOT_SENT",
                        text="the journal cannot be written",
                        ts_event_ns=now_ns,
                        ts_init_ns=now_ns,
                    )
                )
        halt = HaltTrading(
            level=level, source="journal", operator="plimsoll", reason=f"cannot be written: {error}", ts_init_ns=now_ns
        )
        leaving += self._step_adrift(halt)
        return leaving

    def _step_adrift(self, message: AnyMessage) -> Sequence[VenueCommand]:
        said = self.core.process(self.journal.seq, message)
        for each in (message, *said):
            for watch in self._watch:
                watch(self.journal.seq, each)
        return [
            each
            for each in said
            if isinstance(each, CancelOrder) or (isinstance(each, SubmitOrder) and each.position_id)
        ]

    # --- recovery ----------------------------------------------------------------------------------------------

    def _again(self, message: AnyMessage) -> Sequence[VenueCommand | ForecastRequested]:
        record = self._next
        if record is None or record.kind != INPUT or record.message != message:
            found = None if record is None else record.message
            raise InvariantBroken(
                f"recovery of {self.journal.folder}: record {record.seq if record else 0} is {found!r}, "
                f"but this process met {message!r}; was the data or the program changed? Start a new run with --new"
            )
        said = self.core.process(record.seq, message)
        self._next = next(self._records, None)
        written = 0
        for each in said:
            if isinstance(each, ForecastRequested):
                continue
            if self._next is None:
                break  # the crash came between these records: what is missing is written now
            if self._next.kind != OUTPUT or self._next.message != each:
                raise InvariantBroken(
                    f"recovery of {self.journal.folder}: record {self._next.seq} is {self._next.message!r}, "
                    f"but the core now says {each!r}"
                )
            written += 1
            self._next = next(self._records, None)
        self.recovered_inputs += 1
        return self._hand_on(record.seq, message, said, written)

    def close(self) -> None:
        """Commit and close the journal."""
        self.journal.close()


def settle_memory() -> None:
    """Take everything built so far out of the garbage collector's sight: a full collection costs 11 ms and more."""
    gc.collect()
    gc.freeze()

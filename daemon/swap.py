"""Lets new models into a running daemon, and keeps what is served and what is published in step with its core.

Theory of operation. The core decides which model trades (`daemon.succession`); everything it knows of models comes to
it as messages. This is where those come from, and where its decisions are carried out:

    a release is published   the pointer file changes; a worker thread examines the release (`models.admission`); it
                             becomes `ModelAdmitted` messages, or `ModelRefused` with the reason
    an operator wishes       a file in the state's ``swaps`` becomes `PromoteModel` or `RollBackModel`; a model that
                             does not speak yet is examined and admitted first
    the core folds them      only then is the model asked (`Service.add`), and one that was retired no more
    the core swaps           the registry's pointer follows, so that a new run begins with the model that traded last

Nothing waits: five times a second one thread looks at a few file dates and for wishes, another examines and moves the
pointer; the loop only hands over. A crash at any point leaves a journal that says which model trades, and the models
that it names are served again by the next start; a pointer that had not followed yet follows then.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

import msgspec

from bus.errors import ModelError
from bus.messages import (
    AnyMessage,
    ModelAdmitted,
    ModelPromoted,
    ModelRefused,
    ModelRetired,
    ModelRolledBack,
    PromoteModel,
    RollBackModel,
)
from daemon.engine import Engine
from daemon.settings import ModelsSection
from daemon.snapshot import model_words
from daemon.state import State, write_durably
from daemon.succession import Succession
from daemon.swaprecord import ModelsTold, RefusalTold, told_of
from models import random_walk
from models.admission import Admission, Budget, Situation, admit, admit_newest
from models.artifact import Artifact
from models.client import admitted_as, arrivals
from models.registry import Registry
from models.serve import Service

POLL_S = 0.2
REFUSALS_TOLD = 20

Command = ModelAdmitted | ModelRefused | PromoteModel | RollBackModel
"""What comes from here into the core."""


class Swaps:
    """Stands between the registry, the operators, a shell and the service that answers it.

    Args:
        registry: where releases are published.
        state: where wishes arrive and what is going on is told.
        engine: whose core decides.
        service: what is asked; None = another process answers, and finds out for itself.
        tell: passes a command to the core; it stamps the time.
        settings: budgets, and which model trades which symbol.
        now_ns: the run's time.
        note: one line for people.
        run: the run's name.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        state: State,
        engine: Engine,
        service: Service | None,
        tell: Callable[[Command], None],
        settings: ModelsSection,
        now_ns: Callable[[], int],
        note: Callable[[str], None],
        run: str,
        period_ns: int,
        horizons: tuple[int, ...],
    ) -> None:
        self._registry = registry
        self._state = state
        self._engine = engine
        self._service = service
        self._tell = tell
        self._settings = settings
        self._budget = Budget(latency_ns=settings.latency_ms * 1_000_000)
        self._now_ns = now_ns
        self._note = note
        self._run = run
        self._period_ns = period_ns
        self._horizons = horizons
        # two threads: somebody who wants to go back must not wait until a large release has been examined
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="admission")
        self._lookout = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lookout")
        self._looking: Future[tuple[list[PromoteModel | RollBackModel], dict[str, tuple[int, ...]]]] | None = None
        self._jobs: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()
        self._seen: dict[str, tuple[int, ...]] = {}
        self._arriving: dict[str, tuple[Artifact, ...]] = {}
        self._refused: deque[ModelRefused] = deque(maxlen=REFUSALS_TOLD)
        self._changed = True
        self._next = 0.0
        self._hurried = False
        self._handlers: dict[type[AnyMessage], Callable[[Any], None]] = {
            ModelAdmitted: self._on_admitted,
            ModelRefused: self._refused.append,
            ModelRetired: self._on_retired,
            ModelPromoted: self._on_swapped,
            ModelRolledBack: self._on_swapped,
        }

    # --- looking around ----------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Deliver what was found, and five times a second send somebody to look; touches no disk, waits for nothing."""
        while self._jobs and self._jobs[0][0].done():
            future, deliver = self._jobs.popleft()
            try:
                deliver(future.result())
            except (ModelError, OSError) as error:
                self._note(f"models: {error}")
        if self._looking is not None and self._looking.done():
            looking, self._looking = self._looking, None
            try:
                self._found(*looking.result())
            except OSError as error:
                self._note(f"models: {error}")
        now = time.monotonic()
        due = now >= self._next or self._hurried
        if not due or self._looking is not None or self._engine.recovering:
            return
        self._next, self._hurried = now + POLL_S, False
        # the run's own models are still to be told where nobody is in force yet, and are no news
        symbols = [symbol for symbol, each in self._engine.core.successions.items() if each.in_force]
        self._looking = self._lookout.submit(self._look, symbols)

    def _look(self, symbols: Sequence[str]) -> tuple[list[PromoteModel | RollBackModel], dict[str, tuple[int, ...]]]:
        """In the lookout's thread: wishes, and the state of each symbol's part of the registry."""
        seen: dict[str, tuple[int, ...]] = {}
        for symbol in symbols:
            with contextlib.suppress(ModelError):  # a symbol that cannot name a folder has no models
                seen[symbol] = self._registry.fingerprint(symbol, self._period_ns)
        return self._state.take_swaps(), seen

    def _found(self, wishes: Sequence[PromoteModel | RollBackModel], seen: Mapping[str, tuple[int, ...]]) -> None:
        for symbol, fingerprint in seen.items():
            if self._seen.get(symbol) != fingerprint:
                self._seen[symbol] = fingerprint
                self._examine(symbol)
        for wish in wishes:
            self._wish(wish)
        if self._changed:
            self._changed = False
            told = msgspec.json.encode(self.told())
            self._do(lambda: write_durably(self._state.models_told, told), lambda _: None)

    def hurry(self) -> None:
        """Somebody says that there is a new release: look at the next poll. One that is under way may be too early."""
        self._hurried = True

    @property
    def busy(self) -> bool:
        """Whether something is being looked for, examined or carried out just now."""
        return bool(self._jobs) or self._looking is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what is under way: a pointer that has to follow the journal does, and how things stand is told."""
        self._lookout.shutdown(wait=True)
        self._worker.shutdown(wait=True)
        if self._changed and self._engine.core.successions:
            with contextlib.suppress(OSError):  # it is nothing that the next start needs
                write_durably(self._state.models_told, msgspec.json.encode(self.told()))

    def _do(self, work: Callable[[], Any], deliver: Callable[[Any], None]) -> None:
        self._jobs.append((self._worker.submit(work), deliver))

    def _examine(self, symbol: str) -> None:
        situation, in_force = self._situation(symbol), self._engine.core.successions[symbol].in_force
        self._do(lambda: self._admit_newest(situation, in_force), lambda found: self._deliver(symbol, found))

    def _situation(self, symbol: str) -> Situation:
        succession = self._engine.core.successions[symbol]
        return Situation(
            symbol=symbol,
            period_ns=self._period_ns,
            horizons=self._horizons,
            now_ns=self._now_ns(),
            newest_release=succession.newest_release,
        )

    def _admit_newest(self, situation: Situation, in_force: str) -> Admission | None:
        """In the worker: the newest release, held against what the model in force has learnt, where that is kept."""
        with contextlib.suppress(ModelError):
            seen_ns = self._registry.show(in_force).training.seen_ns if in_force != random_walk.MODEL_ID else 0
            situation = replace(situation, in_force_seen_ns=seen_ns)
        return admit_newest(self._registry, situation, self._budget)

    # --- letting in --------------------------------------------------------------------------------------------

    def _deliver(self, symbol: str, found: Admission | None) -> None:
        if found is None:
            return
        for model_id, reason in found.refused:
            self._refuse(symbol, model_id, found.release, reason)
        if found.refused:
            return
        succession = self._engine.core.successions[symbol]
        known = {succession.in_force, *succession.before, *self._arriving}
        known |= {each.model_id for each in succession.members.values() if each.release == found.release}
        messages = arrivals(found, self._settings.trades.get(symbol, ""), known, ts_init_ns=0)
        self._expect(*(each.artifact for each in found.models), known=known)
        for message in messages:
            self._tell(message)

    def _expect(self, *models: Artifact, known: Iterable[str] = ()) -> None:
        """Have models ready for the moment when the core has admitted them; detectors come with the last of them."""
        forecasters = [each for each in models if each.manifest.kind == "forecaster" and each.model_id not in known]
        detectors = [each for each in models if each.manifest.kind == "detector"]
        for each in forecasters:
            self._arriving[each.model_id] = (each, *detectors)

    def _refuse(self, symbol: str, model_id: str, release: int, reason: str) -> None:
        self._note(f"{symbol}: {model_id or 'models'} refused: {reason}")
        self._tell(ModelRefused(model_id=model_id, symbol=symbol, release=release, reason=reason, ts_init_ns=0))

    # --- operators ---------------------------------------------------------------------------------------------

    def _wish(self, wish: PromoteModel | RollBackModel, *, again: bool = False) -> None:
        succession = self._engine.core.successions.get(wish.symbol)
        if succession is None or (not wish.model_id and succession.before) or self._speaks(wish.symbol, wish.model_id):
            self._tell(wish)
        elif self._jobs and not again:  # it may be of a release that is being examined just now
            self._do(lambda: None, lambda _: self._wish(wish, again=True))
        else:
            self._do(lambda: self._called(wish, succession.in_force), lambda found: self._call(wish, *found))

    def _speaks(self, symbol: str, model_id: str) -> bool:
        """Whether a model is admitted, or its admission is on its way to the core."""
        return model_id in self._arriving or model_id in self._engine.core.successions[symbol].members

    def _called(self, wish: PromoteModel | RollBackModel, in_force: str) -> tuple[str, int, Artifact | None, str]:
        """In the worker: a kept model that an operator names, whatever its age; without a name, the release before."""
        pointer = self._registry.pointer(wish.symbol, self._period_ns)
        releases = () if pointer is None else tuple(reversed(pointer.releases))
        older = (each for each in releases if pointer is not None and each.number < pointer.current)
        model_id = wish.model_id or next((each.active for each in older if each.active != in_force), "")
        number = next((each.number for each in releases if model_id in each.models), 0)
        if not number:
            return model_id, 0, None, f"no kept release has {model_id or 'an older model'}; see `plimsoll models list`"
        folder = self._registry.folder(wish.symbol, self._period_ns, model_id)
        situation = Situation(
            symbol=wish.symbol, period_ns=self._period_ns, horizons=self._horizons, now_ns=self._now_ns()
        )
        try:
            found = admit(folder, self._registry.trust, situation, self._budget)
        except ModelError as error:
            return model_id, number, None, str(error)
        return model_id, number, found.artifact, found.verdict

    def _call(
        self, wish: PromoteModel | RollBackModel, model_id: str, release: int, artifact: Artifact | None, told: str
    ) -> None:
        if artifact is None:
            self._refuse(wish.symbol, model_id, release, told)
            return
        if not self._speaks(wish.symbol, model_id):
            self._expect(artifact)
            self._tell(admitted_as(artifact, release=release, verdict=told, ts_init_ns=0))
        self._tell(msgspec.structs.replace(wish, model_id=model_id))

    # --- following the core ------------------------------------------------------------------------------------

    def watch(self, _: int, message: AnyMessage) -> None:
        """Take one message of the audit stream: serve whom the core admitted, and let the pointer follow a swap."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            self._changed = True
            handler(message)

    def _on_admitted(self, model: ModelAdmitted) -> None:
        for artifact in self._arriving.pop(model.model_id, ()):
            self._serve(artifact)

    def _on_retired(self, gone: ModelRetired) -> None:
        if self._service is not None:
            self._service.drop(gone.model_id)

    def _on_swapped(self, swap: ModelPromoted | ModelRolledBack) -> None:
        if not self._engine.recovering:
            self._note(model_words(swap))
            self._follow(swap.model_id)

    def _serve(self, artifact: Artifact) -> None:
        if self._service is None:
            return
        if artifact.manifest.kind == "detector":
            for each in self._service.artifacts:
                if each.manifest.kind == "detector" and each.manifest.symbol == artifact.manifest.symbol:
                    self._service.drop(each.model_id)
        self._service.add(artifact)

    def _follow(self, model_id: str) -> None:
        """Move the registry's pointer to the model that trades; the random walk is no artifact and moves nothing."""
        if model_id != random_walk.MODEL_ID:
            self._do(lambda: self._registry.set_active(model_id), lambda _: None)

    def catch_up(self, records: Iterable[AnyMessage]) -> None:
        """After a crash: where the journal's last swap had not reached the pointer, it follows now."""
        last: dict[str, ModelPromoted | ModelRolledBack] = {}
        for message in records:
            if isinstance(message, ModelPromoted | ModelRolledBack):
                last[message.symbol] = message
        for symbol, swap in last.items():
            with contextlib.suppress(ModelError):
                if self._registry.active(symbol, self._period_ns) == swap.replaced:
                    self._follow(swap.model_id)

    # --- telling -----------------------------------------------------------------------------------------------

    def told(self) -> ModelsTold:
        """How things stand."""
        successions: Mapping[str, Succession] = self._engine.core.successions
        return ModelsTold(
            run=self._run,
            symbols={symbol: told_of(each) for symbol, each in successions.items()},
            refused=tuple(
                RefusalTold(symbol=each.symbol, model_id=each.model_id, release=each.release, reason=each.reason)
                for each in self._refused
            ),
        )

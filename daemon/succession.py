"""Which model trades a symbol, which did before, and which wants to: pure, a part of the core's state.

Theory of operation. Every admitted model speaks and has its own calibrators; one of them is in force and trades. A
release puts one model forward, the candidate, which is compared with the one in force on the same bars
(`risk.promotion`) while it trades nothing: it is in shadow. By rule or by command it takes over, at once and wholly:
a request is decided by the model in force when its answer comes, and by one model only. The model that was in force
stays in shadow beside it and is what a rollback goes back to, with warm calibrators, in one step. A promoted model is
on probation: it is held against the one before, and goes when it turns out worse, does not cover, or does not answer.
A model that was rolled back never comes back by rule.

Models that neither trade, nor traded lately, nor belong to the newest release are retired when a newer one comes, so
that what is asked stays bounded. None of this needs a file: a replay of the journal decides the same.
"""

import msgspec

from bus.messages import (
    Band,
    ModelAdmitted,
    ModelPromoted,
    ModelRetired,
    ModelRolledBack,
    PromoteModel,
    RollBackModel,
    SwapRefused,
)
from models import random_walk
from risk.promotion import Comparison, Standing, SwapPolicy

BEFORE_KEPT = 4
"""Models that traded before and can be gone back to: with the one in force, as many as the registry keeps releases."""

Said = ModelPromoted | ModelRolledBack | ModelRetired | SwapRefused


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An admitted model. `release` is the registry's number, 0 = not told."""

    model_id: str
    kind: str
    release: int
    horizons: tuple[int, ...]
    verdict: str


class Succession:
    """The models of one symbol.

    Attributes:
        in_force: id of the model that trades; empty before one was admitted.
        before: those that traded before it, the last one last.
        candidate: id of the model that wants to trade; empty = none.
        members: admitted models that are still asked, in the order of admission.
        trial: the candidate held against the model in force; None = nobody wants to trade.
        probation: the model in force held against the one before it; None = it never took anybody's place.
    """

    __slots__ = ("_barred", "_level_ppm", "_owed", "_policy", "_symbol", "before", "candidate", "in_force",
                 "members", "probation", "trial")  # fmt: skip

    def __init__(self, symbol: str, policy: SwapPolicy, level_ppm: int) -> None:
        self._symbol = symbol
        self._policy = policy
        self._level_ppm = level_ppm
        self.in_force = ""
        self.before: list[str] = []
        self.candidate = ""
        self.members: dict[str, Member] = {}
        self.trial: Comparison | None = None
        self.probation: Comparison | None = None
        self._barred: set[str] = set()
        self._owed: dict[str, int] = {}

    @property
    def newest_release(self) -> int:
        """The highest number of a release that was admitted; 0 = none was told."""
        return max((member.release for member in self.members.values()), default=0)

    def admit(self, model: ModelAdmitted) -> list[ModelRetired]:
        """Let a model speak; who need not be asked any more is retired."""
        self.members[model.model_id] = Member(
            model_id=model.model_id, kind=model.kind, release=model.release, horizons=model.horizons,
            verdict=model.verdict,
        )  # fmt: skip
        self._owed[model.model_id] = 0
        if model.active:
            self.in_force = model.model_id
            self.probation = None
        elif model.candidate and model.model_id != self.in_force:
            self.candidate = model.model_id
        if model.active or model.candidate:
            self._try_candidate(model.ts_init_ns)
        return self._retire(model)

    def _retire(self, came: ModelAdmitted) -> list[ModelRetired]:
        newest = self.newest_release
        kept = {came.model_id, self.in_force, self.candidate, *self.before}
        gone = [
            member.model_id
            for member in self.members.values()
            if member.release < newest and member.model_id not in kept and member.kind != random_walk.KIND
        ]
        for model_id in gone:
            del self.members[model_id]
            self._owed.pop(model_id, None)
        self._barred &= set(self.members)
        return [
            ModelRetired(
                symbol=self._symbol, model_id=each, reason=f"release {newest} came", ts_init_ns=came.ts_init_ns
            )
            for each in gone
        ]

    # --- what is measured --------------------------------------------------------------------------------------

    def resolved(
        self, model_id: str, as_of_ns: int, horizon: int, band: Band, actual_e5: int, scale_e5: int, now_ns: int
    ) -> Said | None:
        """Take the truth about one interval; what follows from it, where it decides."""
        told = (model_id, as_of_ns, horizon, band, actual_e5, scale_e5)
        standing = self.probation.add(*told) if self.probation is not None else None
        said = self._judge_probation(standing, now_ns) if standing is not None else None
        if said is not None or self.trial is None:
            return said
        standing = self.trial.add(*told)
        return self._judge_candidate(standing, now_ns) if standing is not None else None

    def _judge_candidate(self, standing: Standing, now_ns: int) -> Said | None:
        if self._policy.promote != "rule" or self.candidate in self._barred:
            return None
        if not standing.better or standing.off is not None:
            return None
        return self._promote(self.candidate, "comparison", str(standing), now_ns)

    def _judge_probation(self, standing: Standing, now_ns: int) -> Said | None:
        if self._policy.roll_back != "rule" or not self.before:
            return None
        if standing.worse:
            return self._roll_back(self.before[-1], "comparison", str(standing), now_ns)
        if standing.off is not None:
            return self._roll_back(self.before[-1], "coverage", str(standing), now_ns)
        return None

    def answered(self, model_id: str) -> None:
        """A forecast came in time."""
        if model_id in self._owed:
            self._owed[model_id] = 0

    def missed(self, model_id: str, now_ns: int) -> Said | None:
        """A forecast did not come, or not in time; going back, where the model in force owes too many of them."""
        if model_id not in self._owed:
            return None
        self._owed[model_id] += 1
        owed = self._owed[model_id]
        if model_id != self.in_force or not 0 < self._policy.misses <= owed or not self.before:
            return None
        if self._policy.roll_back != "rule" or self._owed.get(self.before[-1], owed) >= owed:
            return None  # whoever was before it does no better: inference as a whole is ill
        return self._roll_back(self.before[-1], "misses", f"{owed} forecasts in a row did not come", now_ns)

    # --- what operators want -----------------------------------------------------------------------------------

    def promote(self, wish: PromoteModel, now_ns: int) -> Said:
        """Let a model trade because somebody says so."""
        if wish.model_id == self.in_force:
            return self._no(wish.model_id, "it trades already", now_ns)
        if wish.model_id not in self.members:
            return self._no(
                wish.model_id, f"it was not admitted; there are {', '.join(self.members) or 'none'}", now_ns
            )
        return self._promote(wish.model_id, "operator", f"{wish.operator}: {wish.reason}", now_ns)

    def roll_back(self, wish: RollBackModel, now_ns: int) -> Said:
        """Go back because somebody says so."""
        if wish.model_id and wish.model_id == self.in_force:
            return self._no(wish.model_id, "it trades already", now_ns)
        if not self.before and not wish.model_id:
            return self._no("", "no model traded before; name one with `plimsoll models promote`", now_ns)
        target = wish.model_id or self.before[-1]
        if target not in self.members:
            return self._no(target, self._there_are(), now_ns)
        return self._roll_back(target, "operator", f"{wish.operator}: {wish.reason}", now_ns)

    def _there_are(self) -> str:
        return f"it was not admitted; there are {', '.join(self.members) or 'none'}"

    def _no(self, model_id: str, reason: str, now_ns: int) -> SwapRefused:
        return SwapRefused(symbol=self._symbol, model_id=model_id, reason=reason, ts_init_ns=now_ns)

    # --- what changes ------------------------------------------------------------------------------------------

    def _promote(self, model_id: str, rule: str, reason: str, now_ns: int) -> ModelPromoted:
        replaced, self.in_force = self.in_force, model_id
        self.before = [each for each in self.before if each != model_id]
        if replaced:
            self.before = [*self.before, replaced][-BEFORE_KEPT:]
        self.candidate = "" if self.candidate == model_id else self.candidate
        self._barred.discard(model_id)
        self._owed[model_id] = 0
        self.probation = self._compared(model_id, replaced, now_ns)
        self._try_candidate(now_ns)
        return ModelPromoted(
            symbol=self._symbol, model_id=model_id, replaced=replaced, rule=rule, reason=reason, ts_init_ns=now_ns
        )

    def _roll_back(self, model_id: str, rule: str, reason: str, now_ns: int) -> ModelRolledBack:
        replaced, self.in_force = self.in_force, model_id
        if model_id in self.before:
            del self.before[self.before.index(model_id) :]
        self.candidate = "" if self.candidate == model_id else self.candidate
        self._barred.add(replaced)
        self._owed[model_id] = 0
        self.probation = None
        self._try_candidate(now_ns)
        return ModelRolledBack(
            symbol=self._symbol, model_id=model_id, replaced=replaced, rule=rule, reason=reason, ts_init_ns=now_ns
        )

    def _try_candidate(self, now_ns: int) -> None:
        """Hold the candidate against the model in force, from now on."""
        self.trial = self._compared(self.candidate, self.in_force, now_ns)

    def _compared(self, challenger: str, incumbent: str, since_ns: int) -> Comparison | None:
        """A comparison over the horizons that both answer; None where one is not there, or they share none."""
        if challenger not in self.members or incumbent not in self.members:
            return None
        common = set(self.members[challenger].horizons) & set(self.members[incumbent].horizons)
        if not common:
            return None
        return Comparison(
            challenger, incumbent, horizons=sorted(common), policy=self._policy, level_ppm=self._level_ppm,
            since_ns=since_ns,
        )  # fmt: skip

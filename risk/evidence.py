"""What speaks for and against resting risk on the forecasts of a symbol's models. Everything in it is measured.

Theory of operation. One `Evidence` a symbol folds what came true (`risk.coverage`, `risk.drift`), what the bars were
like, what models saw (`PatternSeen`, `RegimeSeen`) and who did not answer. Each change of a state becomes a message; an
entry is held against all of it as it stands (`ModelStanding`, `risk.limits.models`). Exits never are.

Where several things speak against an entry, the smallest of what they leave of its size counts, not their product: one
storm shows in coverage, in drift and as an unusual bar, and is one reason. What leaves nothing refuses.

A model that has owed `misses` forecasts in a row brings no new risk before it has answered `answers` in a row. What a
model measured in shadow is its own and stays with it when it is promoted; admission begins everything anew, since
outcomes of two models are not those of one.

`RegimeSeen` gives probabilities that add up to one, so it cannot say that a market is like none in training; that is
what the anomaly models are for (`unusual_bars`). It can say that no regime is clear (`sure_regime_pct`).

One fold over one state in one file, a little past 400 lines; coverage and drift have their own.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from bus.messages import (
    CoverageChanged,
    DriftChanged,
    GateChanged,
    ModelAdmitted,
    PatternSeen,
    RegimeSeen,
    TrainingSummary,
)
from risk.coverage import PPM, CoverageState, CoverageTracker
from risk.drift import (
    DATA_WINDOW,
    SPECTRUM_WINDOW,
    DataDrift,
    Drift,
    DriftState,
    PerformanceDrift,
    SpectrumDrift,
)
from risk.policies.models import ModelLimits

Changed = CoverageChanged | DriftChanged | GateChanged

OPEN, CLOSED = "ok", "closed"
REGIME_BARS = 2
"""How long a regime holds that its model does not confirm: one that is gone must not keep a gate closed."""

_PCT = 10_000  # millionths


class Drifted(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison that says warn or block; `value_pct_e2` over `n`, `limit_pct_e2` is where warn begins."""

    kind: str
    state: DriftState
    what: str
    value_pct_e2: int
    limit_pct_e2: int
    n: int


class ModelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry rests on, as it stands.

    Attributes:
        model_id: whose forecast.
        horizon: of the interval.
        coverage: of that interval.
        n: outcomes in the window.
        covered: of them.
        nominal_ppm: what the interval promises.
        drifted: comparisons that warn or block.
        owed: forecasts in a row that did not come.
        silent: whether it owes too many, or has not yet made up for it.
        expires_ns: end of the forecast; 0 = it is older than anything remembered, None = the entry names none.
        unusual: what was unusual lately, in words; empty = nothing.
        avoided: which regime is to be avoided, in words; empty = none.
    """

    model_id: str
    horizon: int
    coverage: CoverageState = CoverageState.UNMEASURED
    n: int = 0
    covered: int = 0
    nominal_ppm: int = 0
    drifted: tuple[Drifted, ...] = ()
    owed: int = 0
    silent: bool = False
    expires_ns: int | None = None
    unusual: str = ""
    avoided: str = ""

    def multiplier_ppm(self, limits: ModelLimits) -> int:
        """What is left of size, in millionths: the smallest of what each reason leaves; what refuses is not asked."""
        left_pct = [100]
        if self.coverage is CoverageState.DEGRADED:
            left_pct.append(limits.degraded_pct)
        if any(each.state is DriftState.WARN for each in self.drifted):
            left_pct.append(limits.drift_pct)
        if self.unusual and limits.unusual_pct:
            left_pct.append(limits.unusual_pct)
        if self.avoided and limits.avoided_pct:
            left_pct.append(limits.avoided_pct)
        return min(left_pct) * _PCT


class _Model(msgspec.Struct, kw_only=True):
    """What is kept of one model. `told` has the last state told of each thing."""

    horizons: tuple[int, ...]
    coverage: dict[int, CoverageTracker]
    performance: dict[int, PerformanceDrift]
    market: tuple[Drift, ...]
    told: dict[tuple[str, int], str]
    owed: int = 0
    answered: int = 0
    silent: bool = False


class Evidence:
    """See the module.

    Args:
        symbol: whose.
        limits: what is measured over what, and what follows.
        level_ppm: of the intervals that are measured.
    """

    __slots__ = ("_avoided", "_bars", "_level_ppm", "_limits", "_markets", "_models", "_symbol", "_unusual",
                 "_unusual_by", "_unusual_left")  # fmt: skip

    def __init__(self, symbol: str, limits: ModelLimits, level_ppm: int) -> None:
        self._symbol = symbol
        self._limits = limits
        self._level_ppm = level_ppm
        self._models: dict[str, _Model] = {}
        self._markets: list[tuple[TrainingSummary | None, tuple[DataDrift | SpectrumDrift, ...]]] = []
        self._bars: deque[tuple[int, int, tuple[int, ...] | None]] = deque(maxlen=max(DATA_WINDOW, SPECTRUM_WINDOW))
        self._unusual = self._unusual_by = ""
        self._unusual_left = 0
        self._avoided: dict[str, tuple[str, int]] = {}  # in words, and for how many bars

    # --- who is measured ---------------------------------------------------------------------------------------

    def admit(self, model: ModelAdmitted, spacings: Sequence[int]) -> None:
        """Begin with a model, or begin anew; `spacings` are the truths from one of its scores to the next, a horizon.

        What the bars were like lately is known already and counts at once.
        """
        limits = self._limits
        coverage = {
            horizon: CoverageTracker(
                self._level_ppm,
                limits.coverage_window,
                horizon=horizon,
                false_block_pct_e2=limits.false_block_pct_e2,
            )
            for horizon in model.horizons
            if limits.coverage_window
        }
        performance = {
            horizon: PerformanceDrift(
                scores,
                spacing=spacing,
                horizon=horizon,
                level_ppm=self._level_ppm,
                limit_pct=limits.performance_drift_pct,
            )
            for horizon, scores, spacing in zip(model.horizons, model.scores, spacings, strict=True)
            if limits.performance_drift_pct
        }
        made = _Model(
            horizons=model.horizons,
            coverage=coverage,
            performance=performance,
            market=self._market(model.reference),
            told={},
        )
        for kind, horizon, drift in _drifts(made):
            made.told[kind, horizon] = drift.state.value
        self._models[model.model_id] = made

    def _market(self, reference: TrainingSummary | None) -> tuple[Drift, ...]:
        """The comparisons of the bars with a reference; models that learnt from the same bars share them."""
        for known, drifts in self._markets:
            if known == reference:
                return drifts
        limits = self._limits
        made: list[DataDrift | SpectrumDrift] = []
        if limits.data_drift_pct:
            made.append(DataDrift(reference, limit_pct=limits.data_drift_pct))
        if limits.spectrum_drift_pct:
            made.append(SpectrumDrift(reference, limit_pct=limits.spectrum_drift_pct))
        drifts = tuple(made)
        for bar in self._bars:
            _feed(drifts, *bar)
        self._markets.append((reference, drifts))
        return drifts

    def dismiss(self, model_id: str) -> None:
        """Forget a model; nothing where it is not known."""
        self._models.pop(model_id, None)
        in_use = [each.market for each in self._models.values()]
        self._markets = [each for each in self._markets if any(each[1] is market for market in in_use)]

    # --- what is seen ------------------------------------------------------------------------------------------

    def bar(
        self,
        measured: tuple[int, int, tuple[int, ...] | None] | None,
        in_force: str,
        now_ns: int,
    ) -> list[Changed]:
        """A bar closed; `measured`: return and true range in millionths of the scale, power by octave."""
        changed: list[Changed] = []
        if self._unusual_left:
            self._unusual_left -= 1
            if not self._unusual_left:
                said = f"nothing unusual for {self._limits.unusual_bars} bars"
                changed.append(self._gate("anomaly", self._unusual_by, in_force, CLOSED, OPEN, PPM, said, now_ns))
                self._unusual = ""
        for model_id, (words, left) in tuple(self._avoided.items()):
            self._avoided[model_id] = (words, left - 1)
            if left == 1:
                del self._avoided[model_id]
                said = f"no regime told for {REGIME_BARS} bars"
                changed.append(self._gate("regime", model_id, in_force, CLOSED, OPEN, PPM, said, now_ns))
        if measured is None:
            return changed
        self._bars.append(measured)
        for _, drifts in self._markets:
            _feed(drifts, *measured)
        for model_id, model in self._models.items():
            for kind, drift in _market_kinds(model):
                self._tell_drift(model_id, model, kind, 0, drift, in_force, now_ns, changed)
        return changed

    def resolved(
        self, model_id: str, horizon: int, score: float, in_force: str, now_ns: int, *, covered: bool | None
    ) -> list[Changed]:
        """The truth about one interval.

        Args:
            model_id: who issued it.
            horizon: in bars.
            score: how far the truth lies from the point, in units of the scale.
            in_force: the model that trades.
            now_ns: now.
            covered: whether it lay within; None where the interval had no limits and promised nothing.
        """
        changed: list[Changed] = []
        model = self._models.get(model_id)
        if model is None:
            return changed
        tracker = model.coverage.get(horizon)
        if tracker is not None and covered is not None:
            before, was_wide = tracker.state, tracker.wide
            tracker.add(covered)
            if tracker.state is not before or tracker.wide is not was_wide:
                changed.append(self._coverage(model_id, tracker, before, in_force, now_ns))
        drift = model.performance.get(horizon)
        if drift is not None:
            drift.add(score)
            self._tell_drift(model_id, model, "performance", horizon, drift, in_force, now_ns, changed)
        return changed

    def seen(self, seen: PatternSeen | RegimeSeen, in_force: str, now_ns: int) -> list[Changed]:
        """What a model saw in the newest bar; named patterns are opinions and change nothing."""
        if isinstance(seen, RegimeSeen):
            return self._on_regime(seen, in_force, now_ns)
        limits = self._limits
        if not seen.threshold_ppm or not limits.unusual_bars:
            return []
        before = CLOSED if self._unusual_left else OPEN
        self._unusual = f"{seen.pattern}, percentile {seen.percentile:.1f} of training"
        self._unusual_by, self._unusual_left = seen.model_id, limits.unusual_bars
        if before == CLOSED:
            return []
        left_ppm = limits.unusual_pct * _PCT
        return [self._gate("anomaly", seen.model_id, in_force, OPEN, CLOSED, left_ppm, self._unusual, now_ns)]

    def _on_regime(self, seen: RegimeSeen, in_force: str, now_ns: int) -> list[Changed]:
        limits, share_ppm = self._limits, max(seen.probabilities_ppm, default=0)
        words = ""
        if seen.regime in limits.avoid_regimes:
            words = f"regime {seen.regime} of {len(seen.probabilities_ppm)}, {share_ppm / _PCT:.0f} % sure"
        elif share_ppm < limits.sure_regime_pct * _PCT:
            words = f"no clear regime: the most probable, {seen.regime}, has {share_ppm / _PCT:.0f} %"
        before = self._avoided.pop(seen.model_id, None)
        if words:
            self._avoided[seen.model_id] = (words, REGIME_BARS)
        if (before is not None) == bool(words):
            return []
        states = (OPEN, CLOSED) if words else (CLOSED, OPEN)
        left_ppm = limits.avoided_pct * _PCT if words else PPM
        reason = words or f"regime {seen.regime} of {len(seen.probabilities_ppm)}"
        return [self._gate("regime", seen.model_id, in_force, *states, left_ppm, reason, now_ns)]

    def answered(self, model_id: str, in_force: str, now_ns: int) -> list[Changed]:
        """A forecast came in time."""
        model = self._models.get(model_id)
        if model is None:
            return []
        model.owed = 0
        model.answered += 1
        if not model.silent or model.answered < self._limits.answers:
            return []
        model.silent = False
        reason = f"{model.answered} forecasts in a row came in time"
        return [self._gate("forecasts", model_id, in_force, CLOSED, OPEN, PPM, reason, now_ns)]

    def missed(self, model_id: str, in_force: str, now_ns: int) -> list[Changed]:
        """A forecast did not come, or not in time."""
        model = self._models.get(model_id)
        if model is None:
            return []
        model.owed += 1
        model.answered = 0
        if model.silent or not 0 < self._limits.misses <= model.owed:
            return []
        model.silent = True
        reason = f"{model.owed} forecasts in a row did not come, or came late"
        return [self._gate("forecasts", model_id, in_force, OPEN, CLOSED, 0, reason, now_ns)]

    # --- how things stand --------------------------------------------------------------------------------------

    def standing(self, model_id: str, horizon: int, expires_ns: int | None) -> ModelStanding:
        """What an entry rests on; of a model that is not known nothing is measured."""
        avoided = next((words for words, _ in self._avoided.values()), "")
        model = self._models.get(model_id)
        if model is None:
            return ModelStanding(model_id=model_id, horizon=horizon, expires_ns=expires_ns, unusual=self._unusual,
                                 avoided=avoided)  # fmt: skip
        tracker = model.coverage.get(horizon)
        return ModelStanding(
            model_id=model_id,
            horizon=horizon,
            coverage=tracker.state if tracker else CoverageState.UNMEASURED,
            n=tracker.n if tracker else 0,
            covered=tracker.covered if tracker else 0,
            nominal_ppm=self._level_ppm,
            drifted=tuple(
                Drifted(kind=kind, state=drift.state, what=drift.what, value_pct_e2=drift.value_pct_e2,
                        limit_pct_e2=drift.limit_pct_e2, n=drift.n)
                for kind, of, drift in _drifts(model)
                if of in {0, horizon} and drift.state in {DriftState.WARN, DriftState.BLOCK}
            ),
            owed=model.owed,
            silent=model.silent,
            expires_ns=expires_ns,
            unusual=self._unusual,
            avoided=avoided,
        )  # fmt: skip

    def states(self, model_id: str) -> dict[str, str]:
        """Every state of a model by name, for people."""
        model = self._models.get(model_id)
        if model is None:
            return {}
        told = {f"coverage {horizon}": tracker.state.value for horizon, tracker in model.coverage.items()}
        for kind, horizon, drift in _drifts(model):
            told[f"{kind} {horizon}" if horizon else kind] = drift.state.value
        return told

    # --- telling -----------------------------------------------------------------------------------------------

    def _coverage(
        self, model_id: str, tracker: CoverageTracker, before: CoverageState, in_force: str, now_ns: int
    ) -> CoverageChanged:
        state, limits, upper_ppm = tracker.state, self._limits, tracker.upper_ppm()
        left_pct = {CoverageState.DEGRADED: limits.degraded_pct, CoverageState.BLOCKED: 0}.get(state, 100)
        wide = "; wider than they need to be" if tracker.wide else ""
        reason = (
            f"{tracker.covered} of {tracker.n} covered, {tracker.nominal_ppm / _PCT:g} % promised, at most "
            f"{upper_ppm / _PCT:.2f} % plausible; sequential test {tracker.sum_pct} % on its way to a block{wide}"
        )
        return CoverageChanged(
            symbol=self._symbol,
            model_id=model_id,
            horizon=tracker.horizon,
            active=model_id == in_force,
            before=before.value,
            after=state.value,
            n=tracker.n,
            covered=tracker.covered,
            nominal_ppm=tracker.nominal_ppm,
            upper_ppm=upper_ppm,
            sum_pct=tracker.sum_pct,
            multiplier_ppm=left_pct * _PCT,
            wide=tracker.wide,
            reason=reason,
            ts_init_ns=now_ns,
        )

    def _tell_drift(
        self,
        model_id: str,
        model: _Model,
        kind: str,
        horizon: int,
        drift: Drift,
        in_force: str,
        now_ns: int,
        changed: list[Changed],
    ) -> None:
        state, before = drift.state, model.told[kind, horizon]
        if state.value == before:
            return
        model.told[kind, horizon] = state.value
        left_pct = {DriftState.WARN: self._limits.drift_pct, DriftState.BLOCK: 0}.get(state, 100)
        changed.append(
            DriftChanged(
                symbol=self._symbol,
                model_id=model_id,
                kind=kind,
                horizon=horizon,
                active=model_id == in_force,
                before=before,
                after=state.value,
                what=drift.what,
                value_pct_e2=drift.value_pct_e2,
                limit_pct_e2=drift.limit_pct_e2,
                n=drift.n,
                multiplier_ppm=left_pct * _PCT,
                reason=f"{drift.what}: {drift.value_pct_e2 / 100:.2f} % over {drift.n}, "
                f"{drift.limit_pct_e2 / 100:g} % allowed",
                ts_init_ns=now_ns,
            )
        )

    def _gate(
        self,
        gate: str,
        model_id: str,
        in_force: str,
        before: str,
        after: str,
        multiplier_ppm: int,
        reason: str,
        now_ns: int,
    ) -> GateChanged:
        return GateChanged(
            symbol=self._symbol,
            model_id=model_id,
            gate=gate,
            active=model_id == in_force,
            before=before,
            after=after,
            multiplier_ppm=multiplier_ppm,
            reason=reason,
            ts_init_ns=now_ns,
        )


def _feed(drifts: Sequence[Drift], return_ppm: int, range_ppm: int, octaves: tuple[int, ...] | None) -> None:
    for drift in drifts:
        if isinstance(drift, DataDrift):
            drift.add(return_ppm, range_ppm)
        elif isinstance(drift, SpectrumDrift) and octaves is not None:
            drift.add(octaves)


def _market_kinds(model: _Model) -> list[tuple[str, Drift]]:
    return [("data" if isinstance(drift, DataDrift) else "spectrum", drift) for drift in model.market]


def _drifts(model: _Model) -> list[tuple[str, int, Drift]]:
    """Every comparison of a model: kind, horizon (0 = of the market), itself."""
    own: list[tuple[str, int, Drift]] = [
        ("performance", horizon, drift) for horizon, drift in model.performance.items()
    ]
    return own + [(kind, 0, drift) for kind, drift in _market_kinds(model)]

# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Which way each forecaster takes, and what happens when a device fails it.

Theory of operation, at a load. Each way (`candidates`) is tried for each forecaster and must pass, in this order:

1. it can be made, and answers;
2. the artifact's golden inputs give its golden outputs to within `SINGLE` of a sigma, or `HALF` where it is rounded;
3. where it is rounded, `PROBES` inputs around the golden ones give what single precision gives, to within `HALF`;
4. unless the device is demanded, one row is answered sooner than by the processor (medians of `_TIMES`).

Tolerances are absolute in sigmas and relative, points and deviations alike. `SINGLE` is for what float32 loses in the
ten steps of a diffusion, about 1e-4, with room; `HALF` is for bfloat16's 8 bits, 0.4 % a number. A hundredth of a sigma
of an hour of EURUSD (some ten pips) is a tenth of a pip, less than the smallest spread, and an interval scaled wrong by
a hundredth changes a coverage of 90 % by 0.3 points, within what calibration learns from each answer anyhow. A network
in which large numbers cancel loses more than that, and is refused half precision.

In service a row goes to the device and is waited for at most `patience_s`. What raises, is no number, or is late is
counted by reason, and the processor answers that row. A model whose device is late, or fails `MOST_FAILURES` times with
no answer between, leaves the device until the next load: its buffers may still be written to, or the device is broken.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from models.artifact import Artifact
from models.device.candidates import Ahead, Asked, Way
from models.device.figures import Figures
from models.serve import Told, Wait
from models.worker import DeviceHealth

SINGLE = 1e-3
HALF = 1e-2
PROBES = 64
MOST_FAILURES = 3
PATIENCE_S = 0.25
"""How long an answer of a device is waited for: a quarter of the shortest deadline that can be configured, so that the
processor can still answer in time."""

_TIMES = 9
_LOOK_S = 50e-6
_SPIN_S = 200e-6

Floats = NDArray[np.float64]


class _Refused(Exception):
    """A way that is not taken, which is no error."""


@dataclass(slots=True, kw_only=True)
class _Placed:
    """A forecaster on the device; `failures` in a row."""

    way: str
    asked: Asked
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Options:
    """How a device is used.

    Attributes:
        ways: to compute on it, single precision first.
        demanded: a model goes there even where the processor is quicker.
        patience_s: how long an answer is waited for.
        clock_s: monotonic seconds.
        sleep: waits so many seconds.
    """

    ways: Sequence[Way]
    demanded: bool = False
    patience_s: float = PATIENCE_S
    clock_s: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    awaited_s: float = 0.0
    fell_back: dict[str, int] = field(default_factory=dict[str, int])


class Placement:
    """Fulfils `models.worker.Measured`; see the module's theory of operation. May be asked by one thread only.

    Args:
        artifacts: verified; forecasters among them are placed, what else there is stays with the processor.
        figures: of the device.
        options: see there.
    """

    def __init__(self, artifacts: Sequence[Artifact], figures: Figures, options: Options) -> None:
        self._figures = figures
        self._options = options
        self._placed: dict[str, _Placed] = {}
        self._kept_off = 0
        self._counts = _Counts()
        self.notes: list[str] = []
        for artifact in artifacts:
            if artifact.manifest.kind == "forecaster":
                self._place(artifact)
        self._began_s = options.clock_s()

    # --- at a load -------------------------------------------------------------------------------------------------

    def _place(self, artifact: Artifact) -> None:
        best: tuple[float, _Placed] | None = None
        single: Asked | None = None
        refused: list[str] = []
        for way in self._options.ways:
            try:
                asked = self._let_in(artifact, way, single)
                if single is None and not way.rounded:
                    single = asked
                inputs = _golden(artifact)[:1]
                taken_s = self._typical_s(lambda asked=asked, inputs=inputs: _ask(artifact, asked, inputs))
            except _Refused as reason:
                refused.append(f"{way.name}: {reason}")
            except Exception as error:  # noqa: BLE001  whatever a device raises, the processor answers
                refused.append(f"{way.name}: {_first_line(error)}")
            else:
                if best is None or taken_s < best[0]:
                    best = taken_s, _Placed(way=way.name, asked=asked)
        if best is not None and not self._options.demanded:
            inputs = _golden(artifact)[:1]
            processor_s = self._typical_s(lambda: artifact.pipeline.measured(inputs))
            if best[0] >= processor_s:
                way = best[1].way
                refused.append(f"{way}: {best[0] * 1e6:.0f} us a row, the processor takes {processor_s * 1e6:.0f} us")
                best = None
        if best is not None:
            try:  # only now: what a way does once for every size of batch takes time, and one way is left
                best[1].asked.warm()
            except Exception as error:  # noqa: BLE001  as above
                refused.append(f"{best[1].way}: {_first_line(error)}")
                best = None
        if best is None:
            self._keep_off(artifact.model_id, "; ".join(refused))
        else:
            self._placed[artifact.model_id] = best[1]

    def _let_in(self, artifact: Artifact, way: Way, single: Asked | None) -> Asked:
        """Raises _Refused, or whatever the device does."""
        if way.rounded and single is None:
            raise _Refused("there is no single precision to compare it with")
        asked = way.make(artifact)
        tolerance = HALF if way.rounded else SINGLE
        golden = artifact.tensors["golden_outputs"], artifact.tensors.get("golden_scales")
        worst = _apart(_ask(artifact, asked, _golden(artifact)), golden)
        if not worst <= tolerance:
            raise _Refused(f"golden outputs missed by {worst:.2g}, {tolerance:g} is let pass")
        if way.rounded and single is not None:
            probes = _probes(_golden(artifact))
            worst = _apart(_ask(artifact, asked, probes), _ask(artifact, single, probes))
            if not worst <= tolerance:
                raise _Refused(f"{worst:.2g} away from single precision, {tolerance:g} is let pass")
        return asked

    def _typical_s(self, ask: Callable[[], object]) -> float:
        taken: list[float] = []
        for _ in range(_TIMES):
            began_s = self._options.clock_s()
            ask()
            taken.append(self._options.clock_s() - began_s)
        return median(taken)

    # --- in service ------------------------------------------------------------------------------------------------

    def begin(self, artifact: Artifact, inputs: Floats) -> Sequence[Wait] | None:
        """See `models.serve.Device`."""
        placed = self._placed.get(artifact.model_id)
        if placed is None or not np.isfinite(inputs).all():
            return None
        began_s = self._options.clock_s()
        try:
            ahead = placed.asked.begin(artifact.pipeline.scaled(inputs))
        except Exception as error:  # noqa: BLE001  as above
            self._failed(artifact.model_id, placed, "error", _first_line(error), rows=len(inputs))
            return None
        together = _Together(self, artifact.model_id, placed, ahead, began_s, len(inputs))
        return [lambda row=row: together.row(row) for row in range(len(inputs))]

    def wait(self, model_id: str, placed: _Placed, ahead: Ahead, began_s: float, rows: int) -> Told | None:
        """Outputs of all rows that were begun together; None where they did not come. Never raises."""
        clock_s, due_s = self._options.clock_s, began_s + self._options.patience_s
        try:
            while not ahead.ready():
                now_s = clock_s()
                if now_s >= due_s:
                    self._failed(
                        model_id, placed, "slow", f"no answer within {self._options.patience_s:g} s", rows=rows
                    )
                    return None
                # at first without giving the processor away: most answers are there before a sleep would end
                if now_s - began_s > _SPIN_S:
                    self._options.sleep(_LOOK_S)
            points, spreads = ahead.result()
        except Exception as error:  # noqa: BLE001  as above
            self._failed(model_id, placed, "error", _first_line(error), rows=rows)
            return None
        self._counts.awaited_s += clock_s() - began_s
        return points.astype(np.float64), None if spreads is None else spreads.astype(np.float64)

    def judge(self, model_id: str, placed: _Placed, told: Told) -> Told | None:
        """One row, or None where it is no number though its inputs were."""
        points, spreads = told
        if np.isfinite(points).all() and (spreads is None or np.isfinite(spreads).all()):
            self._counts.answered += 1
            placed.failures = 0
            return told
        self._failed(model_id, placed, "not_finite", "an answer that is not a finite number", rows=1)
        return None

    def _failed(self, model_id: str, placed: _Placed, reason: str, detail: str, *, rows: int) -> None:
        self._counts.fell_back[reason] = self._counts.fell_back.get(reason, 0) + rows
        placed.failures += 1
        if (reason == "slow" or placed.failures >= MOST_FAILURES) and self._placed.pop(model_id, None) is not None:
            self._keep_off(model_id, f"{placed.way}: {detail}; until models are loaded again")

    def _keep_off(self, model_id: str, why: str) -> None:
        self._kept_off += 1
        self.notes.append(f"{model_id} runs on the processor, not on {self._figures.name}: {why}")

    # --- figures ---------------------------------------------------------------------------------------------------

    def health(self) -> DeviceHealth:
        """See `models.worker.Measured`."""
        passed_s = max(self._options.clock_s() - self._began_s, 1e-9)
        used = self._figures.now()
        awaited_ppm = round(1e6 * min(1.0, self._counts.awaited_s / passed_s))
        return DeviceHealth(
            name=self._figures.name,
            models={model_id: placed.way for model_id, placed in self._placed.items()},
            kept_off=self._kept_off,
            answered=self._counts.answered,
            fell_back=dict(self._counts.fell_back),
            memory_bytes=used.memory_bytes,
            busy_ppm=awaited_ppm if used.busy_ppm is None else used.busy_ppm,
            measured_by=used.measured_by,
        )

    def close(self) -> None:
        """See `models.serve.Device`."""
        self._placed.clear()


class _Together:
    """Rows of one model that were begun together: the first that is asked for waits for all."""

    def __init__(
        self, placement: Placement, model_id: str, placed: _Placed, ahead: Ahead, began_s: float, rows: int
    ) -> None:
        self._placement, self._model_id, self._placed = placement, model_id, placed
        self._ahead, self._began_s, self._rows = ahead, began_s, rows
        self._waited = False
        self._told: Told | None = None

    def row(self, row: int) -> Told | None:
        if not self._waited:
            self._waited = True
            self._told = self._placement.wait(self._model_id, self._placed, self._ahead, self._began_s, self._rows)
        if self._told is None:
            return None
        points, spreads = self._told
        own = points[row : row + 1], None if spreads is None else spreads[row : row + 1]
        return self._placement.judge(self._model_id, self._placed, own)


def _golden(artifact: Artifact) -> Floats:
    return artifact.tensors["golden_inputs"]


def _probes(golden: Floats) -> Floats:
    """Inputs around the golden ones: one of them each, moved by as much as they differ among themselves."""
    random = np.random.default_rng(0)
    chosen = golden[random.integers(len(golden), size=PROBES)]
    return chosen + random.standard_normal(chosen.shape) * golden.std(axis=0)


def _ask(artifact: Artifact, asked: Asked, inputs: Floats) -> tuple[Floats, Floats | None]:
    return asked.begin(artifact.pipeline.scaled(inputs)).result()


def _apart(told: tuple[Floats, Floats | None], wanted: tuple[Floats, Floats | None]) -> float:
    """Largest difference, in sigmas where what is wanted is small and relative where it is large.

    NaN, and more or fewer numbers, are infinitely far.
    """
    worst = 0.0
    for one, other in zip(told, wanted, strict=True):
        if one is None and other is None:
            continue
        if one is None or other is None or one.shape != other.shape or not np.isfinite(one).all():
            return float("inf")
        worst = max(worst, float(np.max(np.abs(one - other) / np.maximum(1.0, np.abs(other)))))
    return worst


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]

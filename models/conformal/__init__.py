"""Conformal intervals, online and in plain Python: how far is the truth usually from the forecast?

Theory of operation. A forecast whose truth has come earns a nonconformity score, |actual - point| / scale
(`scores`); the scale is a volatility known when the forecast was issued, so that calm and wild hours are comparable.
The interval of level 1 - a is point +- q scale, where q is the k-th smallest of n kept scores and
k = ceil((n + 1)(1 - a)); where k > n the set is too small for the level and the interval is the whole line
(`window`). For exchangeable scores that covers with probability 1 - a to 1 - a + 1 / (n + 1) (Lei et al. 2018), and
given the set with a probability that is Beta(k, n + 1 - k) distributed. Markets are not exchangeable, so an adaptation
(`adaptation`, `pid`, `dtaci`) moves every level's quantile after every truth; its bound holds for any sequence.

====================  =========================================================================================
`Fixed`               none: rolling split conformal
`Aci`                 adaptive conformal inference: moves the level (Gibbs and Candes 2021)
`DtAci`               eight of them, weighted by how they did (Gibbs and Candes 2022)
`Pid`                 conformal control: moves the quantile itself, never infinite (Angelopoulos et al. 2023)
`CqrCalibrator`       conformalised quantile regression, for forecasts that are quantiles (Romano et al. 2019)
`JointCalibrator`     one band over all horizons, that holds every one of them at once
====================  =========================================================================================

The default (`calibrator`) is `Pid` on scores scaled by `models.volatility`; `docs/calibration.md` measures why.

Labels are delayed: the truth of a forecast h bars ahead comes h bars later. The caller keeps what it issued, and calls
`update` when the truth arrives with whether each band, as it was issued, held it (and with the `ticket` of that moment,
which an adaptation that weighs experts needs). One calibrator serves one (symbol, model, horizon) and starts afresh
with another model: scores of two models are not exchangeable (`Bank`). `state` and `restore` continue bit-equal.

Overlapping labels are close copies of each other, so h bars ahead only every `stride_for(h)`-th score is kept: the same
thousand scores then look back proportionally further. Every label still moves the adaptation, by `step_for(h)`.
"""

from models.conformal.adaptation import Aci, AciState, Adaptation, AdaptationState, Fixed, FixedState, Method
from models.conformal.bank import Bank, BankEntry, BankState
from models.conformal.calibrator import Calibrator, CalibratorState, calibrator, kept, step_for, stride_for
from models.conformal.dtaci import DtAci, DtAciState
from models.conformal.joint import JointCalibrator, bonferroni_ppm, joint_score, rates
from models.conformal.pid import Pid, PidState
from models.conformal.quantiles import CqrCalibrator, CqrState, cqr_score
from models.conformal.window import CAPACITY, RollingScores, rank, score

__all__ = [
    "CAPACITY",
    "Aci",
    "AciState",
    "Adaptation",
    "AdaptationState",
    "Bank",
    "BankEntry",
    "BankState",
    "Calibrator",
    "CalibratorState",
    "CqrCalibrator",
    "CqrState",
    "DtAci",
    "DtAciState",
    "Fixed",
    "FixedState",
    "JointCalibrator",
    "Method",
    "Pid",
    "PidState",
    "RollingScores",
    "bonferroni_ppm",
    "calibrator",
    "cqr_score",
    "joint_score",
    "kept",
    "rank",
    "rates",
    "score",
    "step_for",
    "stride_for",
]

"""Whether what an entry rests on still holds: the forecast, its model, the market that the model knows.

An entry that names no model is held against the market's state alone (an unusual bar, a regime to avoid).
"""

from bus.values import NS_PER_S
from risk.coverage import CoverageState
from risk.drift import DriftState
from risk.limits.check import Breach, Check, Rule


def forecast_expired(c: Check) -> Breach | None:
    """Whether the forecast that was decided on is no longer in force."""
    if c.model is None or c.model.expires_ns is None or c.now_ns <= c.model.expires_ns:
        return None
    value = f"{(c.now_ns - c.model.expires_ns) / NS_PER_S:.3f} s past its end" if c.model.expires_ns else "long past"
    return Breach("forecast_expired", "a forecast in force", value, "a decision on a newer forecast")


def forecasts_missing(c: Check) -> Breach | None:
    """Whether the model owes forecasts, or has not made up for it yet."""
    if c.model is None or not c.model.silent:
        return None
    limits = c.policy.models
    value = f"{c.model.owed} owed by {c.model.model_id}"
    if not c.model.owed:
        value = f"fewer than {limits.answers} in time since {limits.misses} or more were owed by {c.model.model_id}"
    return Breach(
        "forecasts_missing", f"fewer than {limits.misses} in a row", value, f"{limits.answers} in a row in time"
    )


def coverage(c: Check) -> Breach | None:
    """Whether the intervals of the model at this horizon do not tell the truth."""
    if c.model is None or c.model.coverage is not CoverageState.BLOCKED:
        return None
    model = c.model
    return Breach(
        "coverage",
        f"{model.nominal_ppm / 10_000:g} % covered, or what luck explains",
        f"{model.covered} of {model.n}, {model.horizon} bars ahead by {model.model_id}",
        "outcomes that are covered as promised until the gate opens, or another model",
    )


def drift(c: Check) -> Breach | None:
    """Whether the market or the model's forecasts are far from what they were in training."""
    if c.model is None:
        return None
    for each in c.model.drifted:
        if each.state is DriftState.BLOCK:
            opens = each.limit_pct_e2 * 4 / 300
            return Breach(
                "drift",
                f"{each.kind}: {each.limit_pct_e2 / 50:g} %",
                f"{each.what}: {each.value_pct_e2 / 100:.2f} % over {each.n}",
                f"{opens:.2f} % or less, or a model trained on newer bars",
            )
    return None


def anomaly(c: Check) -> Breach | None:
    """Whether something unusual was seen in the newest bars."""
    limits = c.policy.models
    if c.model is None or not c.model.unusual or limits.unusual_pct:
        return None
    return Breach(
        "anomaly",
        f"nothing unusual for {limits.unusual_bars} bars",
        c.model.unusual,
        f"{limits.unusual_bars} bars without another",
    )


def regime(c: Check) -> Breach | None:
    """Whether the market is in a regime to avoid, or in none that is clear."""
    limits = c.policy.models
    if c.model is None or not c.model.avoided or limits.avoided_pct:
        return None
    allowed = f"none of {', '.join(map(str, limits.avoid_regimes))}" if limits.avoid_regimes else "a clear regime"
    return Breach("regime", allowed, c.model.avoided, "another regime, clearly")


RULES = (
    Rule(forecast_expired, "A decision on an expired forecast is a decision on old news.", needs="model"),
    Rule(
        forecasts_missing,
        "A model that falls silent brings no new risk until it has answered steadily again.",
        ("models.misses", "models.answers"),
        needs="model",
    ),
    Rule(
        coverage,
        "Intervals that do not hold what they promise are nothing to risk money on; size falls first.",
        ("models.coverage_window", "models.false_block_pct_e2", "models.degraded_pct"),
        needs="model",
    ),
    Rule(
        drift,
        "A model knows the market it learnt from; where that has changed too much, it knows nothing; size falls first.",
        (
            "models.performance_drift_pct",
            "models.data_drift_pct",
            "models.spectrum_drift_pct",
            "models.drift_pct",
        ),
        needs="model",
    ),
    Rule(
        anomaly,
        "What looks like nothing in training is waited out, or traded small.",
        ("models.unusual_bars", "models.unusual_pct"),
        needs="model",
    ),
    Rule(
        regime,
        "Regimes that somebody chose to avoid are waited out, or traded small.",
        ("models.avoid_regimes", "models.sure_regime_pct", "models.avoided_pct"),
        needs="model",
    ),
)

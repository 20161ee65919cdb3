"""What an answer of each architecture costs on one thread: a row alone, a thousand together, and the library itself.

LightGBM and scikit-learn are asked for the same trees, one row at a time, as they would be without `models.forms`.
"""

import time
import warnings

import lightgbm
import numpy as np
from sklearn.ensemble import RandomForestRegressor
from threadpoolctl import threadpool_limits

from bench.common import percentiles, report
from models.contract import Problem
from models.ensembles import Opinions, ensembles
from models.forms.ensemble import Ensemble, Member, Mixture
from models.nets import architectures
from models.nets._grown import from_lightgbm, planted
from models.scalers import Scaler
from models.states import states

INPUTS, OUTPUTS, ROWS = 38, 3, 4000
CALLS = 3000
NETS = ("ridge", "lasso", "random_forest", "gradient_boosting", "mlp")


def timed(answer, row):
    took = []
    for _ in range(CALLS):
        begin = time.perf_counter_ns()
        answer(row)
        took.append(time.perf_counter_ns() - begin)
    return percentiles(took)


def a_row_of_a_thousand(answer, rows):
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter_ns()
        answer(rows)
        best = min(best, time.perf_counter_ns() - begin)
    return round(best / len(rows) / 1_000, 3)


def main():
    random = np.random.default_rng(0)
    inputs = random.standard_normal((ROWS, INPUTS))
    targets = 0.3 * inputs[:, :OUTPUTS] + random.standard_normal((ROWS, OUTPUTS))
    problem = Problem(
        inputs=inputs[:3000],
        targets=targets[:3000],
        validation_inputs=inputs[3000:],
        validation_targets=targets[3000:],
        seed=1,
    )
    row, many = inputs[:1], inputs[:1000]
    scaler = Scaler(centre=np.zeros(INPUTS), gain=np.ones(INPUTS))
    fitted = {name: net.fit(problem) for name, net in architectures(NETS).items()}
    members = tuple(
        Member(name=name, columns=tuple(range(INPUTS)), window=1, scaler=scaler, net=net)
        for name, net in fitted.items()
    )
    alike = Ensemble(members=members, weights=np.full((5, OUTPUTS), 0.2), features=INPUTS, window=1)
    found = ensembles()["ensemble_uncertainty"].combine(
        Opinions(
            forecasts=alike.opinions(inputs[3000:]),
            targets=targets[3000:],
            horizons=(1, 4, 24),
            families=("linear",) * 5,
        )
    )
    mixture = Mixture(members=members, weights=found.weights, features=INPUTS, window=1, variances=found.variances)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, net in (*fitted.items(), ("ensemble_mean", alike)):
            figures = {"trees": len(net.offset), "nodes": len(net.feature)} if net.form == "trees" else {}
            report(f"forecaster {name}", row_us=timed(net, row), batch_row_us=a_row_of_a_thousand(net, many), **figures)
        report("forecaster ensemble_uncertainty", row_us=timed(mixture.measured, row))
        # 200 trees of 31 leaves, as in published figures
        settings = {"verbosity": -1, "num_threads": 1, "num_leaves": 31, "use_missing": False}
        grown = lightgbm.train(settings, lightgbm.Dataset(inputs, targets[:, 0]), 200)
        trees = planted(
            [from_lightgbm(tree["tree_structure"], output=0) for tree in grown.dump_model()["tree_info"]],
            inputs=INPUTS, outputs=1,
        )  # fmt: skip
        report(
            "200 trees of 31 leaves",
            row_us=timed(trees, row),
            lightgbm_row_us=timed(lambda x: grown.predict(x, num_threads=1), row),
            batch_row_us=a_row_of_a_thousand(trees, many),
            lightgbm_batch_row_us=a_row_of_a_thousand(lambda x: grown.predict(x, num_threads=1), many),
        )
        forest = RandomForestRegressor(n_estimators=180, max_depth=6, n_jobs=1, random_state=1)
        forest.fit(inputs, targets[:, 0])
        report("the same forest by scikit-learn", row_us=timed(forest.predict, row))
        for name, state in states().items():
            model = state.fit(random.standard_normal((3000, len(state.feature_names))), 1)
            report(f"state {name}", row_us=timed(model, random.standard_normal((1, model.inputs))))


if __name__ == "__main__":
    main()

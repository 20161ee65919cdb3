"""From a trainer's command to a promotion in a running day, by rule and without a restart."""

import pytest

from bus.calendar import to_datetime
from tests.harness.liveday import under_a_running_day
from tests.harness.markets import made_up_bars
from tests.harness.pricefiles import write_csv

CONFIG = """
[data]
path = "{path}"
learn_until = "{learnt}"
calibrate_until = "{calibrated}"
[forecast]
horizons = [1, 4]
[swap]
min_pairs = 64
margin_pct_e2 = 500
[report]
enabled = false
[store]
enabled = false
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_release_of_a_trainer_is_admitted_shadowed_and_promoted_by_rule_under_a_running_day(tmp_path):
    bars = made_up_bars(6000, 3)
    write_csv(tmp_path / "EURUSD.csv", bars)
    ends = [to_datetime(int(bars.ts_open_ns[row])).isoformat() for row in (800, 1000, 1200)]
    config = tmp_path / "plimsoll.toml"
    config.write_text(CONFIG.format(path=tmp_path / "EURUSD.csv", learnt=ends[1], calibrated=ends[2]))
    found = under_a_running_day(
        config, tmp_path / "state", pace="72000x", decided=10, within_s=500,
        older=("--model", "ridge", "--learn-until", ends[0], "--calibrate-until", ends[1]),
        newer=("--model", "ridge", "--seed", "8"),
    )  # fmt: skip
    assert found["candidate_is_the_published_one"]
    assert found["incumbent"] != found["candidate"]
    assert (found["replaced"], found["rule"]) == (found["incumbent"], "comparison")
    assert found["began"] < found["admitted"] < found["promoted"]
    assert found["shadow_forecasts"] >= 64
    assert found["decided_by_incumbent"] > 0
    assert found["decided_by_candidate"] >= 10
    assert (found["reigns"], found["rolled_back"], found["decisions_of_two_models"]) == (2, 0, 0)
    assert (found["processes"], found["ended"], found["replayed_identically"]) == (1, "SIGTERM", True)

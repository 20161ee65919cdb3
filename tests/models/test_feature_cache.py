"""The feature cache gives what a computation gives, to the bit, or computes again."""

import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from bus.errors import ConfigError, DataError
from models import features
from models.columns import from_series
from models.features import Inputs
from models.train.cache import FeatureCache
from tests.harness.markets import made_up_bars
from tests.harness.sources import made_up

NAMES = ("ret_1", "rsi_14", "body")
COLUMNS = from_series(made_up_bars(400, 3))
INPUTS = Inputs(columns=COLUMNS)
ROWS = features.compute(INPUTS, NAMES)


def entries(folder):
    return sorted(folder.iterdir())


def test_the_second_time_comes_from_disk_with_the_same_bits(tmp_path):
    folder = tmp_path / "made" / "when needed"
    for hits in (0, 1, 2):
        cache = FeatureCache(folder)
        for _ in range(hits):
            assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
        assert (cache.hits, cache.misses) == (max(0, hits - (hits == 1)), int(hits == 1))
    assert len(entries(folder)) == 1


@pytest.mark.parametrize(
    "other",
    [
        (replace(INPUTS, columns=replace(COLUMNS, close_e5=COLUMNS.close_e5 + 1)), NAMES),
        (replace(INPUTS, columns=replace(COLUMNS, ts_open_ns=COLUMNS.ts_open_ns + 1)), NAMES),
        (replace(INPUTS, columns=replace(COLUMNS, quotes=COLUMNS.quotes + 1)), NAMES),
        (INPUTS.rows(0, 399), NAMES),
        (INPUTS, NAMES[::-1]),
        (INPUTS, NAMES[:2]),
    ],
)
def test_other_data_and_other_features_are_other_entries(tmp_path, other):
    cache = FeatureCache(tmp_path)
    cache.compute(INPUTS, NAMES)
    assert cache.compute(*other).tobytes() == features.compute(*other).tobytes()
    assert (cache.hits, cache.misses, len(entries(tmp_path))) == (0, 2, 2)


def test_ticks_and_other_pairs_are_part_of_the_data(tmp_path):
    cache, inputs = FeatureCache(tmp_path), made_up().inputs(0, 400)
    names = (*NAMES, "flow_imbalance_8", "dollar_strength_1")
    cache.compute(inputs, names)
    ticks, panel = inputs.ticks, inputs.panel
    for other in (
        replace(inputs, ticks=replace(ticks, flow=-ticks.flow)),
        replace(inputs, panel=replace(panel, symbol="EURGBP")),
        replace(inputs, panel=replace(panel, returns={name: -r for name, r in panel.returns.items()})),
    ):
        assert cache.compute(other, names).tobytes() == features.compute(other, names).tobytes()
    assert (cache.hits, cache.misses) == (0, 4)


def test_another_version_of_the_code_has_entries_of_its_own(tmp_path, monkeypatch):
    FeatureCache(tmp_path).compute(INPUTS, NAMES)
    monkeypatch.setattr(features, "schema_hash", lambda _names: "another")
    cache = FeatureCache(tmp_path)
    cache.compute(INPUTS, NAMES)
    assert (cache.hits, cache.misses) == (0, 1)


def test_any_broken_entry_is_seen_and_computed_again(tmp_path):
    FeatureCache(tmp_path).compute(INPUTS, NAMES)
    (path,) = entries(tmp_path)
    sound = path.read_bytes()
    random = np.random.default_rng(1)
    bad = [sound[:cut] for cut in random.integers(0, len(sound), 40).tolist()]
    bad += [
        sound[:position] + bytes([sound[position] ^ (1 << position % 8)]) + sound[position + 1 :]
        for position in random.integers(0, len(sound), 80).tolist()
    ]
    bad += [b"", b"\0" * len(sound), sound + b"more"]
    for data in bad:
        path.write_bytes(data)
        cache = FeatureCache(tmp_path)
        assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
        assert (cache.broken, cache.misses) == (1, 1)
        assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
        assert (cache.broken, cache.hits) == (1, 1)


def test_a_sound_entry_under_the_name_of_another_is_not_believed(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.compute(INPUTS, NAMES)
    (first,) = entries(tmp_path)
    cache.compute(INPUTS, NAMES[::-1])
    (second,) = set(entries(tmp_path)) - {first}
    second.write_bytes(first.read_bytes())
    assert cache.compute(INPUTS, NAMES[::-1]).tobytes() == features.compute(INPUTS, NAMES[::-1]).tobytes()
    save_file({"rows": ROWS.astype(np.float32)}, first)
    assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
    assert cache.broken == 2


def test_the_folder_stays_within_its_limit_and_loses_what_was_used_longest_ago(tmp_path):
    size = ROWS.nbytes + 1000
    cache = FeatureCache(tmp_path, limit_bytes=3 * size)
    sets = [NAMES, NAMES[::-1], ("ret_2", "ret_4", "body"), ("ret_8", "ret_4", "body")]
    for age, names in enumerate(sets[:3]):
        cache.compute(INPUTS, names)
        newest = max(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (1000 + age, 1000 + age))
    cache.compute(INPUTS, sets[0])  # used again, so the second is now the oldest
    cache.compute(INPUTS, sets[3])
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 3 * size
    again = FeatureCache(tmp_path, limit_bytes=3 * size)
    for names in (sets[0], sets[2], sets[3]):
        again.compute(INPUTS, names)
    assert (again.hits, again.misses) == (3, 0)
    again.compute(INPUTS, sets[1])
    assert again.misses == 1


def test_what_is_larger_than_the_limit_is_computed_and_not_kept(tmp_path):
    cache = FeatureCache(tmp_path, limit_bytes=1000)
    assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
    assert (cache.unkept, entries(tmp_path)) == (1, [])
    with pytest.raises(ConfigError, match="positive limit"):
        FeatureCache(tmp_path, limit_bytes=0)


def test_a_disk_that_takes_nothing_costs_nothing_but_the_entry(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    cache = FeatureCache(tmp_path / "file")
    assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
    assert cache.unkept == 1

    def full(*_):
        raise OSError(28, "No space left on device")

    cache = FeatureCache(tmp_path / "full")
    monkeypatch.setattr(os, "fdopen", full)
    assert cache.compute(INPUTS, NAMES).tobytes() == ROWS.tobytes()
    monkeypatch.undo()
    assert (cache.unkept, entries(tmp_path / "full")) == (1, [])


def test_what_cannot_be_computed_is_refused_as_without_a_cache(tmp_path):
    with pytest.raises(DataError, match="without ticks"):
        FeatureCache(tmp_path).compute(INPUTS, ("flow_imbalance_1",))

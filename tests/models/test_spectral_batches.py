"""Spectral features in batches with torch agree with the numpy ones that models are served with."""

from dataclasses import replace

import numpy as np
import pytest

from bus.errors import ModelError
from models import features
from models.columns import from_series
from models.features import Inputs, Market
from models.features.spectral import WIDTHS
from models.train import spectral as batched
from tests.harness.markets import made_up_bars

CHOICES = ("frequency", "roll_off")


def test_without_torch_it_says_so(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="torch is not installed"):
        batched.spectral(np.zeros(100), 64)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("width", WIDTHS)
def test_batches_equal_the_light_side_to_float_tolerance(width, device):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    bars = made_up_bars(3000, 5)
    close = bars.close_e5.copy()
    close[1000:1400] = close[1000]  # windows without power too
    columns = replace(from_series(bars), close_e5=close)
    returns = Market(Inputs(columns=columns)).returns
    got = batched.spectral(returns, width, device=device, batch=700)
    expected = dict(zip(got, features.compute(columns, tuple(got)).T, strict=True))
    for name, values in got.items():
        assert np.isnan(values[:width]).all()
        if any(choice in name for choice in CHOICES):
            # two nearly equal powers may change places
            assert (values[width:] == expected[name][width:]).mean() > 0.999
        else:
            assert values[width:] == pytest.approx(expected[name][width:], abs=1e-9)


def test_a_width_that_no_feature_has_is_refused():
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(ModelError, match="63 returns"):
        batched.spectral(np.zeros(100), 63)

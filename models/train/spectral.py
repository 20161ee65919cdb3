"""The spectral features in batches with torch: on a GPU through cuFFT, on the CPU otherwise. Imported by nobody light.

It computes what `models.features.spectral` computes, window by window and in the same double precision, with another
library's transform and other orders of summation. So the two agree to float tolerance and not to the bit: shares,
entropy, centroid and bands to 1e-9. Dominant frequency and roll-off are choices between neighbouring frequencies; they
agree but where two powers, or a running share and 85 %, are equal to that tolerance. Models are trained and served
with the numpy values alone: these are for training sets too large to wait for.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bus.errors import ModelError
from models.columns import Floats
from models.features import ALL
from models.features.spectral import FAST_PERIOD, LEAST_POWER, ROLL_OFF, SLOW_PERIOD, frequencies, hann

BATCH = 1 << 16
"""Windows transformed at a time: 64 MiB of doubles at 128 returns."""


def spectral(returns: Floats, width: int, *, device: str | None = None, batch: int = BATCH) -> dict[str, Floats]:
    """Every spectral feature of one window width.

    Args:
        returns: shape (n,), log returns, the first NaN (as `Market.returns` has them).
        width: returns a window, one of `models.features.spectral.WIDTHS`.
        device: for instance `cuda`; None = a GPU where there is one, the CPU otherwise.
        batch: windows at a time, bounds memory.

    Returns:
        By feature name, shape (n,); NaN in the first `width` rows.

    Raises:
        ModelError: torch is not installed, or the width is not one of the features'.
    """
    torch = _torch()
    names = [f"spectral_{what}_{width}" for what in ("frequency", "peak", "entropy", "centroid", "roll_off")]
    names += [f"band_slow_{width}", f"band_fast_{width}"]
    if not set(names) <= set(ALL):
        raise ModelError(f"no spectral features of {width} returns; choose a width that `models.features.spectral` has")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    out = np.full((len(names), len(returns)), np.nan)
    windows = torch.as_tensor(np.ascontiguousarray(returns[1:])).to(where).unfold(0, width, 1)
    for start in range(0, len(returns) - width, batch):
        part = windows[start : start + batch]
        stop = start + width + len(part)
        out[:, start + width : stop] = torch.stack(_values(torch, part, width)).cpu().numpy()
    return dict(zip(names, out, strict=True))


def _values(torch: Any, windows: Any, width: int) -> Sequence[Any]:
    """The seven features of a batch of windows, shape (rows, width), each of shape (rows,)."""
    grid = torch.as_tensor(frequencies(width)).to(windows.device)
    centred = (windows - windows.mean(dim=1, keepdim=True)) * torch.as_tensor(hann(width)).to(windows.device)
    power = torch.fft.rfft(centred, dim=1)[:, 1:].abs().square()
    whole = power.sum(dim=1, keepdim=True)
    silent = whole < LEAST_POWER * width
    shares = torch.where(silent, torch.full_like(power, 2.0 / width), power / torch.where(silent, 1.0, whole))
    reached = (shares.cumsum(dim=1) >= ROLL_OFF).to(torch.uint8)
    return (
        grid[shares.argmax(dim=1)],
        shares.amax(dim=1),
        -(shares * shares.clamp_min(1e-300).log()).sum(dim=1) / math.log(width // 2),
        (shares * grid).sum(dim=1),
        grid[reached.argmax(dim=1)],
        shares[:, grid <= 1.0 / SLOW_PERIOD].sum(dim=1),
        shares[:, grid > 1.0 / FAST_PERIOD].sum(dim=1),
    )


def _torch() -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]  an option of the heavy side, not a dependency
    except ImportError as error:
        raise ModelError("torch is not installed; spectral features of `models.features` need numpy alone") from error
    return torch

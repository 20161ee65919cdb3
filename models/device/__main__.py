"""The inference process with a device: `python -m models.device WHICH GATHER_US`. Loads torch where it finds a GPU.

`WHICH` is `auto` (a GPU where there is one and it is quicker) or `cuda` (a GPU, quicker or not, and a line where there
is none); `GATHER_US` is how long requests of several markets wait for one another, in microseconds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bus.errors import ConfigError
from models.artifact import Artifact
from models.device.absent import DEVICES, Nothing, absent, unusable
from models.gathering import Gathering
from models.worker import Measured, main


def place_of(which: str, devices: Path = DEVICES) -> "Placing":
    """Who puts models on the device, or on none. Raises ConfigError for a word that is neither of the two."""
    if which not in {"auto", "cuda"}:
        raise ConfigError(f"forecast.device = {which!r}; write auto, cpu or cuda")
    return Placing(demanded=which == "cuda", why=absent(devices))


class Placing:
    """Fulfils `models.worker.Place`.

    Args:
        demanded: a GPU is used even where the processor is quicker, and its absence is told.
        why: there is none; empty = there seems to be one.
    """

    def __init__(self, *, demanded: bool, why: str) -> None:
        self._demanded = demanded
        self._why = why

    def __call__(self, artifacts: Sequence[Artifact]) -> Measured:
        """Place them."""
        if not self._why:
            self._why = unusable()
        if self._why:
            return Nothing(artifacts, self._why if self._demanded else "")
        try:
            from models.device.candidates import ways
            from models.device.figures import Figures
            from models.device.placement import Options, Placement

            return Placement(artifacts, Figures("cuda"), Options(ways=ways("cuda"), demanded=self._demanded))
        except Exception as error:  # noqa: BLE001  a broken device must not cost the processor's forecasts
            return Nothing(artifacts, f"the device does not start ({type(error).__name__}: {error})"[:200])


if __name__ == "__main__":
    sys.exit(main(place_of(sys.argv[1]), Gathering(window_ns=int(sys.argv[2]) * 1_000)))

"""Coverage-guided fuzzing of what talks to cTrader: `make fuzz SECONDS=60`.

The first byte chooses a target of `tests/harness/ctrader_targets.py`, the rest decides what the peer sends. A unit that
raises, takes a second of processor or grows by 100 MB is a finding: it is written to build/fuzz/ (or the folder given),
and this script with that file as argument takes it again. What was found to reach new code is kept in corpus/ there.
Needs atheris, which `make fuzz` installs where there is a wheel of it.
"""

import resource
import sys
import time
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    print(  # noqa: T201
        "atheris is not installed here: it has wheels for Linux on x86-64 with Python 3.11 to 3.13 alone. There, "
        "`make fuzz` installs it; elsewhere `pip install atheris` builds it where clang is. Nothing was fuzzed."
    )
    raise SystemExit(0) from None

with atheris.instrument_imports(include=["adapters", "bus"]):
    from tests.adapters.test_ctrader_frames import VECTORS
    from tests.harness.ctrader_targets import TARGETS, Choices, take_line

ROOT = Path(__file__).parents[2]
FOUND = ROOT / "build" / "fuzz"
MOST_CPU_S, MOST_KB = 1.0, 100_000
_TARGETS = list(TARGETS.values())


def take(data: bytes) -> None:
    """One unit."""
    target = _TARGETS[data[0] % len(_TARGETS)] if data else _TARGETS[0]
    began, peak_kb = time.process_time(), _peak_kb()
    target(Choices(data[1:]))
    spent_s, grew_kb = time.process_time() - began, _peak_kb() - peak_kb
    if spent_s > MOST_CPU_S * (10 if target is take_line else 1):  # which is a whole day of messages
        raise TimeoutError(f"{spent_s:.2f} s of processor")
    if grew_kb > MOST_KB:
        raise MemoryError(f"{grew_kb} kB more than before")


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def seeds(folder: Path) -> None:
    """Write what to begin with: the reference's wire test vectors, and some decisions for every target."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, _, text) in VECTORS.items():
        (folder / name.replace(" ", "-")).write_bytes(b"\x00" + bytes.fromhex(text))
    for number, name in enumerate(TARGETS):
        for seed in range(8):
            random = Random(f"{name}{seed}")
            (folder / f"{name}-{seed}").write_bytes(bytes([number]) + random.randbytes(random.choice((60, 300, 1_500))))


def main() -> None:
    """Fuzz for a time, or take files."""
    options = [each for each in sys.argv[1:] if each.startswith("-")]
    places = [each for each in sys.argv[1:] if not each.startswith("-")]
    if not places or Path(places[0]).is_dir():
        folder = Path(places[0]) if places else FOUND
        seeds(folder / "corpus")
        options.append(f"-artifact_prefix={folder}/")
        places = [str(folder / "corpus")]
    atheris.Setup([sys.argv[0], "-max_len=4000", "-timeout=20", "-print_final_stats=1", *options, *places], take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

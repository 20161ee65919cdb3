"""Features kept on disk from one training to the next, by what they were computed from.

Theory of operation. An entry's key is the sha256 of the features' schema hash (names, parameters, code) and of every
number that went in, so an entry is never stale: other code, other parameters or other data have another key. One file
an entry, a safetensors file whose metadata carry the key and the sha256 of the array; both are compared before the
array is used, and an entry that does not fit (cut short, altered, renamed) is counted, removed and computed again.
Files are written under a name of their own and renamed, so that two trainings may share a folder. After each write
the entries used longest ago are removed until the folder is within its limit. A disk that does not take an entry costs
the next training its time, and this one nothing.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bus.errors import ConfigError
from models import features
from models.columns import Floats
from models.features import Inputs

LIMIT_BYTES = 4 * 1024**3
_SUFFIX = ".safetensors"
_TEMPORARY = ".new"


class FeatureCache:
    """Features by content, in one folder.

    Args:
        folder: made when something is kept; holds nothing else.
        limit_bytes: most bytes of all entries; an entry larger than that is not kept.

    Attributes:
        hits: computations saved.
        misses: computations made.
        broken: entries that were not what they should be.
        unkept: results that the disk or the limit did not let in.

    Raises:
        ConfigError: a limit that is not positive.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        if limit_bytes <= 0:
            raise ConfigError(f"feature cache of {limit_bytes} bytes in {folder}; give a positive limit, or no cache")
        self._folder = folder
        self._limit_bytes = limit_bytes
        self.hits = self.misses = self.broken = self.unkept = 0

    def compute(self, inputs: Inputs, names: Sequence[str] = features.DEFAULT) -> Floats:
        """What `features.compute` gives, to the bit, from disk where it is there. Raises like it."""
        key = hashlib.sha256(f"{features.schema_hash(tuple(names))} {inputs.sha256()}".encode()).hexdigest()
        path = self._folder / f"{key}{_SUFFIX}"
        kept = self._read(path, key, (len(inputs), len(names)))
        if kept is not None:
            self.hits += 1
            return kept
        self.misses += 1
        rows = features.compute(inputs, names)
        self._keep(path, key, rows)
        return rows

    def _read(self, path: Path, key: str, shape: tuple[int, int]) -> Floats | None:
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                rows: Floats = file.get_tensor("rows")
            sound = rows.dtype == np.float64 and rows.shape == shape
            if sound and metadata == {"key": key, "sha256": _digest(rows)}:
                os.utime(path)  # used now: the last to be removed
                return rows
        except (OSError, SafetensorError, ValueError):
            pass
        self.broken += 1
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _keep(self, path: Path, key: str, rows: Floats) -> None:
        data = save({"rows": rows}, metadata={"key": key, "sha256": _digest(rows)})
        if len(data) > self._limit_bytes:
            self.unkept += 1
            return
        fresh = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, fresh = tempfile.mkstemp(suffix=_TEMPORARY, dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(fresh).replace(path)
            self._shrink()
        except OSError:
            self.unkept += 1
            if fresh is not None:
                Path(fresh).unlink(missing_ok=True)

    def _shrink(self) -> None:
        """Remove what was used longest ago, unfinished files of dead trainings included, until the limit holds."""
        entries: list[tuple[int, int, Path]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another training has removed it
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        held = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if held <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            held -= size


def _digest(rows: Floats) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()

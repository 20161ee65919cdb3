# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What a training needs to go on, on disk: tensors as safetensors, everything else as JSON. No pickle.

Theory of operation. A checkpoint is two files of one name. The tensors are written first, under another name, flushed
to the disk and renamed; then the JSON, which holds the sha256 of both, likewise. So a checkpoint is there once its JSON
is, whole, and a crash or a full disk leaves the ones before as they were. On the way back the newest is read; where its
hash, its JSON or its arrays are not sound, that is said in one line, and the one before is read. A checkpoint carries
the fingerprint of what was learnt from and how: another training's is not taken for this one's.

    step-0000001200.safetensors  step-0000001200.json    the newest few
    finished.safetensors         finished.json           the weights that training gave
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from bus.errors import ModelError

SCHEMA = 1
FINISHED = "finished"


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON beside the tensors.

    Attributes:
        schema: of this struct.
        fingerprint: of the training.
        sha256: of the tensors' file and the state.
        state: numbers and words by name.
    """

    schema: int
    fingerprint: str
    sha256: str
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    Args:
        folder: made when something is saved.
        fingerprint: of the training.
        keep: periodic ones that stay.
        note: told one line where one is unsound.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int, note: Callable[[str], None]) -> None:
        self._folder, self._fingerprint, self._keep, self._note = folder, fingerprint, keep, note

    def save(self, name: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write one, then remove those that are too many.

        Raises:
            ModelError: the disk did not take it; what was there before still is.
        """
        data = save({key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()})
        record = Record(schema=SCHEMA, fingerprint=self._fingerprint, sha256=_sha256(data, state), state=state)
        paths = [self._folder / f"{name}{suffix}" for suffix in (".safetensors", ".json")]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # one that is written again must not be taken for whole meanwhile
            paths[1].unlink(missing_ok=True)
            for path, content in zip(paths, (data, msgspec.json.encode(record)), strict=True):
                write(path, content)
        except OSError as error:
            raise ModelError(
                f"checkpoint {name} could not be written to {self._folder} ({error.strerror}); the ones before are "
                "whole: make room, then give the same command again"
            ) from error
        for old in self._periodic()[: -self._keep]:
            for suffix in (".json", ".safetensors"):
                old.with_suffix(suffix).unlink(missing_ok=True)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest sound one, or None where there is none."""
        for path in reversed(self._periodic()):
            found = self._read(path)
            if found is not None:
                self._note(f"going on from checkpoint {path.stem}")
                return found
        return None

    def finished(self) -> dict[str, Tensor] | None:
        """The weights that this training gave, where it came to its end."""
        path = self._folder / f"{FINISHED}.json"
        found = self._read(path) if path.is_file() else None
        return None if found is None else found[0]

    def _periodic(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.json"))

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        try:
            record = msgspec.json.decode(path.read_bytes(), type=Record)
            data = path.with_suffix(".safetensors").read_bytes()
        except (OSError, msgspec.MsgspecError) as error:
            return self._unsound(path, str(error))
        if record.schema != SCHEMA or record.fingerprint != self._fingerprint:
            return self._unsound(path, "it is of another training: other data, settings or seed", "not used")
        if _sha256(data, record.state) != record.sha256:
            return self._unsound(path, "it is not what was written (sha256)")
        try:
            return load(data), record.state
        except (SafetensorError, ValueError) as error:
            return self._unsound(path, str(error))

    def _unsound(self, path: Path, why: str, word: str = "damaged") -> None:
        self._note(f"checkpoint {path.stem} is {word}: {why}; the one before is tried")


def _sha256(data: bytes, state: dict[str, Any]) -> str:
    return hashlib.sha256(data + msgspec.json.encode(state)).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Replace a file so that after any crash it is the old one or the new one, whole. Leaves nothing where it fails."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under names that begin with `prefix` and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `prefixed` named so, by their own names."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def digest(*parts: Tensor | str) -> str:
    """sha256 over words and tensors: a fingerprint."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            whole.update(f"{len(part)} {part};".encode())
        else:
            whole.update(f"{tuple(part.shape)} {part.dtype};".encode())
            whole.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()

"""Where artifacts are kept: published together, pointed at by one file, the last five releases kept.

Theory of operation. A registry is a folder with one folder for each market (symbol and period). In it every artifact
has a folder named by its id, and `current.json` lists the last releases: which models were published together and
which of them trades. Publishing writes and syncs the artifacts under temporary names, renames them, then replaces
`current.json` in one step, so a crash leaves the old release or the new one and never half of either. A file lock keeps
two publishers apart; readers need none. Artifacts that no kept release names are removed after the pointer has moved.

The pointer ends with the sha256 of what stands before it, so that an altered one is found before it is parsed. A
release may be published beside the one in force (`stage`): it is there for a running daemon to try, and a new run still
begins with the one in force.

One file past 400 lines: every way to move the one pointer is beside the others.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.errors import ModelError, TradingError
from bus.values import NS_PER_S
from models import artifact as artifacts
from models.artifact import MANIFEST, WEIGHTS, Artifact, Manifest
from models.signing import SIGNATURE, Trust

RELEASES_KEPT = 5
SCHEMA = 2
_POINTER = "current.json"
_LARGEST_POINTER_BYTES = 1_000_000
_SEAL = b',\n "sha256": "%s"\n}\n'
_SEAL_BYTES = len(_SEAL) - 2 + 64


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models published together. `number` counts up for a market; `active` is the model that trades."""

    number: int
    models: tuple[str, ...]
    active: str


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `current.json` holds: kept releases, oldest first, and the number of the one in force.

    The newest release is the last; where it is not the one in force, it was staged, or its market was rolled back:
    `reached` is the highest number that was ever in force.
    """

    schema: int
    symbol: str
    period_ns: int
    current: int
    reached: int
    releases: tuple[Release, ...]

    @property
    def rolled_back(self) -> bool:
        """Whether the newest release was in force, and something older was put back in its place."""
        return self.current < self.newest.number <= self.reached

    @property
    def in_force(self) -> Release:
        """What a new run begins with."""
        return next(release for release in self.releases if release.number == self.current)

    @property
    def newest(self) -> Release:
        """What was published last."""
        return self.releases[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a listing. `current` = in the release in force, `active` = the model of it that trades."""

    model_id: str
    symbol: str
    period_ns: int
    release: int
    current: bool
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of verifying one model; `problem` is empty where it is sound."""

    model_id: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The release in force, verified; `release` is its number."""

    artifacts: tuple[Artifact, ...]
    active: str
    release: int = 0


class Registry:
    """Artifacts under one folder.

    Args:
        root: made when something is published; need not exist before.
        trust: whose artifacts are read; None = anybody's.
    """

    def __init__(self, root: Path, trust: Trust | None = None) -> None:
        self._root = root
        self.trust = trust or Trust()

    def publish(self, models: Sequence[Artifact], *, active: str, stage: bool = False) -> Release:
        """Put models of one market in force together. Publishing what is in force already changes nothing.

        Args:
            models: the release.
            active: the one of them that is to trade.
            stage: publish beside what is in force, where something is: for a running daemon to try.

        Raises:
            ModelError: no models, models of different markets, `active` not a forecaster among them, or a disk that
                does not take them.
        """
        if not models:
            raise ModelError("nothing to publish; train first")
        markets = {(model.manifest.symbol, model.manifest.period_ns) for model in models}
        if len(markets) != 1:
            raise ModelError(f"models of {len(markets)} markets in one release; publish each market by itself")
        if active not in {model.model_id for model in models if model.manifest.kind == "forecaster"}:
            raise ModelError(f"active model {active!r} is not a forecaster of this release")
        symbol, period_ns = models[0].manifest.symbol, models[0].manifest.period_ns
        market = self._market(symbol, period_ns)
        try:
            market.mkdir(parents=True, exist_ok=True)
            with _locked(market):
                for model in models:
                    _write(market, model)
                pointer = self._pointer(market) or Pointer(
                    schema=SCHEMA, symbol=symbol, period_ns=period_ns, current=0, reached=0, releases=()
                )
                names = tuple(model.model_id for model in models)
                newest = pointer.newest if pointer.releases else None
                again = newest is not None and (newest.models, newest.active) == (names, active)
                if newest is not None and again and (newest.number == pointer.current or stage):
                    return newest
                release = Release(number=newest.number + 1 if newest else 1, models=names, active=active)
                current = pointer.current if stage and pointer.releases else release.number
                everything = (*pointer.releases, release)
                kept = tuple(
                    each for each in everything if each in everything[-RELEASES_KEPT:] or each.number == current
                )
                _point(market, _with(pointer, current, kept))
                _prune(market, kept)
                return release
        except OSError as error:
            raise ModelError(f"{market}: cannot publish ({error.strerror}); check the disk and its rights") from error

    def list(self) -> tuple[Entry, ...]:
        """Every model of every kept release, newest release of a market first.

        Raises:
            ModelError: a pointer file cannot be read.
        """
        entries: list[Entry] = []
        for pointer in self.pointers():
            entries += [
                Entry(
                    model_id=model_id,
                    symbol=pointer.symbol,
                    period_ns=pointer.period_ns,
                    release=release.number,
                    current=release.number == pointer.current,
                    active=release.number == pointer.current and model_id == release.active,
                )
                for release in reversed(pointer.releases)
                for model_id in release.models
            ]
        return tuple(entries)

    def show(self, model_id: str) -> Manifest:
        """The manifest of a kept model, verified. Raises ModelError where there is none or it is unsound."""
        return self.read(model_id).manifest

    def read(self, model_id: str) -> Artifact:
        """A kept model of any release, verified. Raises like `show`."""
        return artifacts.read(self._folder(model_id), self.trust)

    def pointers(self) -> tuple[Pointer, ...]:
        """What is kept of every market, in order of symbol and period.

        Raises:
            ModelError: a pointer file cannot be read.
        """
        found = (self._pointer(market) for market in sorted(self._root.glob("*/")))
        return tuple(pointer for pointer in found if pointer is not None)

    def pointer(self, symbol: str, period_ns: int) -> Pointer | None:
        """What is kept of a market; None where nothing was published. Raises like `pointers`."""
        return self._pointer(self._market(symbol, period_ns))

    def fingerprint(self, symbol: str, period_ns: int) -> tuple[int, ...]:
        """Changes whenever something is published, moved, or signed in a market; cheap, and never raises."""
        market = self._market(symbol, period_ns)
        told: list[int] = []
        for path in (market / _POINTER, *sorted(market.glob(f"*/{SIGNATURE}"))):
            with contextlib.suppress(OSError):
                found = path.stat()
                told += [found.st_ino, found.st_mtime_ns, found.st_size]
        return tuple(told)

    def folder(self, symbol: str, period_ns: int, model_id: str) -> Path:
        """Where a model of a market rests, whether it is there or not."""
        return self._market(symbol, period_ns) / model_id

    def sign(self, model_id: str, sign: Callable[[bytes], bytes]) -> Path:
        """Put a signature beside a kept model, atomically; one that was there is replaced.

        Args:
            model_id: a kept model, which is verified first, though not by a signature that it has.
            sign: manifest bytes to the content of the signature file.

        Returns:
            The signature file.

        Raises:
            ModelError: there is no such model, or it is unsound.
        """
        folder = self._folder(model_id)
        manifest_bytes = artifacts.read(folder, unsigned=True).manifest_bytes
        with _locked(folder.parent):
            fresh, signature = folder / f".new-{SIGNATURE}", folder / SIGNATURE
            _write_synced(fresh, sign(manifest_bytes))
            fresh.replace(signature)
            _sync_folder(folder)
        return signature

    def verify(self, model_id: str = "") -> tuple[Verdict, ...]:
        """Verify one model, or with no name every kept one."""
        names = [model_id] if model_id else list(dict.fromkeys(entry.model_id for entry in self.list()))
        verdicts: list[Verdict] = []
        for name in names:
            try:
                self.read(name)
                verdicts.append(Verdict(model_id=name, problem=""))
            except TradingError as error:
                verdicts.append(Verdict(model_id=name, problem=str(error)))
        return tuple(verdicts)

    def load(self, symbol: str, period_ns: int) -> Loaded | None:
        """The release in force for a market, every artifact verified; None where nothing was published.

        Raises:
            ModelError: an artifact or the pointer is unsound.
        """
        market = self._market(symbol, period_ns)
        pointer = self._pointer(market)
        if pointer is None:
            return None
        release = pointer.in_force
        return Loaded(
            artifacts=tuple(artifacts.read(market / name, self.trust) for name in release.models),
            active=release.active,
            release=release.number,
        )

    def active(self, symbol: str, period_ns: int) -> str | None:
        """The model that trades a market; None where nothing was published."""
        pointer = self._pointer(self._market(symbol, period_ns))
        return None if pointer is None else pointer.in_force.active

    def set_active(self, model_id: str) -> Release:
        """Let a kept forecaster trade: within the release in force, or by going back to the newest that has it.

        Raises:
            ModelError: no kept release has it, or it is unsound or no forecaster.
        """
        folder = self._folder(model_id)
        if artifacts.read(folder, self.trust).manifest.kind != "forecaster":
            raise ModelError(f"{model_id} is a detector and cannot trade; name a forecaster")
        market = folder.parent
        with _locked(market):
            pointer = self._pointer(market)
            assert pointer is not None
            candidates = [pointer.in_force, *reversed(pointer.releases)]
            chosen = next((release for release in candidates if model_id in release.models), None)
            if chosen is None:
                raise ModelError(f"no kept release has a model {model_id}; `list` shows what there is")
            changed = msgspec.structs.replace(chosen, active=model_id)
            releases = tuple(changed if release.number == chosen.number else release for release in pointer.releases)
            _point(market, _with(pointer, chosen.number, releases))
            return changed

    def rollback(self, symbol: str, period_ns: int) -> Release:
        """Put the release before the one in force into force.

        Raises:
            ModelError: there is none.
        """
        market = self._market(symbol, period_ns)
        if self._pointer(market) is None:
            raise ModelError(f"nothing was published for {symbol}; train first")
        with _locked(market):
            pointer = self._pointer(market)
            assert pointer is not None
            older = [release for release in pointer.releases if release.number < pointer.current]
            if not older:
                raise ModelError(f"{symbol}: release {pointer.current} is the oldest kept; nothing to go back to")
            _point(market, _with(pointer, older[-1].number, pointer.releases))
            return older[-1]

    def _market(self, symbol: str, period_ns: int) -> Path:
        if not symbol.isalnum():
            raise ModelError(f"symbol {symbol!r} cannot name a folder; use letters and digits")
        whole = period_ns % NS_PER_S == 0
        return self._root / f"{symbol}-{period_ns // NS_PER_S}s" if whole else self._root / f"{symbol}-{period_ns}ns"

    def _folder(self, model_id: str) -> Path:
        for entry in self.list():
            if entry.model_id == model_id:
                return self._market(entry.symbol, entry.period_ns) / model_id
        raise ModelError(f"no model {model_id!r} in {self._root}; `plimsoll models list` shows what there is")

    def _pointer(self, market: Path) -> Pointer | None:
        path = market / _POINTER
        try:
            pointer = msgspec.json.decode(_unsealed(path), type=Pointer)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); remove it and train again") from error
        if pointer.schema != SCHEMA or not any(release.number == pointer.current for release in pointer.releases):
            raise ModelError(f"{path}: of another release of Plimsoll; remove it and train again")
        return pointer


def _with(pointer: Pointer, current: int, releases: tuple[Release, ...]) -> Pointer:
    reached = max(pointer.reached, current)
    return msgspec.structs.replace(pointer, current=current, reached=reached, releases=releases)


def sealed(body: bytes) -> bytes:
    """A pointer's JSON object with the sha256 of itself as its last member."""
    return body.removesuffix(b"\n}") + _SEAL % hashlib.sha256(body).hexdigest().encode()


def _unsealed(path: Path) -> bytes:
    """A pointer's JSON, whole; raises ValueError where it is not what was written."""
    if path.stat().st_size > _LARGEST_POINTER_BYTES:
        raise ValueError(f"larger than {_LARGEST_POINTER_BYTES} bytes")
    data = path.read_bytes()
    body = data[:-_SEAL_BYTES] + b"\n}"
    if sealed(body) != data:
        raise ValueError("altered: its sha256 does not match")
    return body


@contextlib.contextmanager
def _locked(market: Path) -> Generator[None]:
    with (market / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(market: Path, model: Artifact) -> None:
    folder = market / model.model_id
    with contextlib.suppress(ModelError):
        artifacts.read(folder)
        return  # content decides the name, so what is there and sound is the same
    fresh = market / f".new-{model.model_id}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    _write_synced(fresh / WEIGHTS, model.weights_bytes)
    _write_synced(fresh / MANIFEST, model.manifest_bytes)
    if model.signature is not None:
        _write_synced(fresh / SIGNATURE, model.signature)
    _sync_folder(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    _sync_folder(market)


def _point(market: Path, pointer: Pointer) -> None:
    fresh = market / f".new-{_POINTER}"
    _write_synced(fresh, sealed(msgspec.json.format(msgspec.json.encode(pointer), indent=1)))
    fresh.replace(market / _POINTER)
    _sync_folder(market)


def _prune(market: Path, kept: Sequence[Release]) -> None:
    named = {model_id for release in kept for model_id in release.models}
    for folder in market.iterdir():
        if folder.is_dir() and folder.name not in named:
            shutil.rmtree(folder, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

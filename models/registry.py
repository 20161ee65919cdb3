"""Where artifacts are kept: published together, pointed at by one file, the last five releases kept.

Theory of operation. A registry is a folder with one folder for each market (symbol and period). In it every artifact
has a folder named by its id, and `current.json` lists the last releases: which models were published together and
which of them trades. Publishing writes and syncs the artifacts under temporary names, renames them, then replaces
`current.json` in one step, so a crash leaves the old release or the new one and never half of either. A file lock keeps
two publishers apart; readers need none. Artifacts that no kept release names are removed after the pointer has moved.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bus.errors import ModelError, TradingError
from bus.values import NS_PER_S
from models import artifact as artifacts
from models.artifact import MANIFEST, WEIGHTS, Artifact, Manifest

RELEASES_KEPT = 5
SCHEMA = 1
_POINTER = "current.json"


class Release(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Models published together. `number` counts up for a market; `active` is the model that trades."""

    number: int
    models: tuple[str, ...]
    active: str


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `current.json` holds: kept releases, oldest first, and the number of the one in force."""

    schema: int
    symbol: str
    period_ns: int
    current: int
    releases: tuple[Release, ...]


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
    """The release in force, verified."""

    artifacts: tuple[Artifact, ...]
    active: str


class Registry:
    """Artifacts under one folder.

    Args:
        root: made when something is published; need not exist before.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, models: Sequence[Artifact], *, active: str) -> Release:
        """Put models of one market in force together. Publishing what is in force already changes nothing.

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
                    schema=SCHEMA, symbol=symbol, period_ns=period_ns, current=0, releases=()
                )
                names = tuple(model.model_id for model in models)
                newest = pointer.releases[-1] if pointer.releases else None
                if newest and (newest.models, newest.active, newest.number) == (names, active, pointer.current):
                    return newest
                release = Release(number=newest.number + 1 if newest else 1, models=names, active=active)
                kept = (*pointer.releases, release)[-RELEASES_KEPT:]
                _point(market, msgspec.structs.replace(pointer, current=release.number, releases=kept))
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
        for market in sorted(self._root.glob("*/")):
            pointer = self._pointer(market)
            if pointer is None:
                continue
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
        return artifacts.read(self._folder(model_id)).manifest

    def verify(self, model_id: str = "") -> tuple[Verdict, ...]:
        """Verify one model, or with no name every kept one."""
        names = [model_id] if model_id else list(dict.fromkeys(entry.model_id for entry in self.list()))
        verdicts: list[Verdict] = []
        for name in names:
            try:
                artifacts.read(self._folder(name))
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
        release = _in_force(pointer)
        return Loaded(artifacts=tuple(artifacts.read(market / name) for name in release.models), active=release.active)

    def active(self, symbol: str, period_ns: int) -> str | None:
        """The model that trades a market; None where nothing was published."""
        pointer = self._pointer(self._market(symbol, period_ns))
        return None if pointer is None else _in_force(pointer).active

    def set_active(self, model_id: str) -> Release:
        """Let a kept forecaster trade: within the release in force, or by going back to the newest that has it.

        Raises:
            ModelError: no kept release has it, or it is unsound or no forecaster.
        """
        folder = self._folder(model_id)
        if artifacts.read(folder).manifest.kind != "forecaster":
            raise ModelError(f"{model_id} is a detector and cannot trade; name a forecaster")
        market = folder.parent
        with _locked(market):
            pointer = self._pointer(market)
            assert pointer is not None
            candidates = [_in_force(pointer), *reversed(pointer.releases)]
            chosen = next((release for release in candidates if model_id in release.models), None)
            if chosen is None:
                raise ModelError(f"no kept release has a model {model_id}; `list` shows what there is")
            changed = msgspec.structs.replace(chosen, active=model_id)
            releases = tuple(changed if release.number == chosen.number else release for release in pointer.releases)
            _point(market, msgspec.structs.replace(pointer, current=chosen.number, releases=releases))
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
            _point(market, msgspec.structs.replace(pointer, current=older[-1].number))
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
            pointer = msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); remove it and train again") from error
        if pointer.schema != SCHEMA or not any(release.number == pointer.current for release in pointer.releases):
            raise ModelError(f"{path}: of another release of Plimsoll; remove it and train again")
        return pointer


def _in_force(pointer: Pointer) -> Release:
    return next(release for release in pointer.releases if release.number == pointer.current)


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
    _sync_folder(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    _sync_folder(market)


def _point(market: Path, pointer: Pointer) -> None:
    fresh = market / f".new-{_POINTER}"
    _write_synced(fresh, msgspec.json.format(msgspec.json.encode(pointer), indent=1))
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

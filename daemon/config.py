"""Configuration: one TOML file, overlays by profile, the command line on top. Every mistake is one line with a way out.

Order of precedence, weakest first: defaults; the file; its ``[profile.NAME]``; the environment (`ENVIRONMENT`); the
command line. Every overlay in the file is checked, also those that are not in force: a mistake in ``prod`` is found
on the developer's machine.
"""

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import msgspec
import platformdirs

from bus.errors import ConfigError, DataError
from bus.values import Instrument, default_instrument
from daemon.settings import NOT_IN_FILE, PROFILES, Config, check_instrument

FILE_NAME = "plimsoll.toml"
ENVIRONMENT = {"PLIMSOLL_STORE_URL": "store.url", "PLIMSOLL_BUS_URL": "bus.url", "PLIMSOLL_STATE": "state"}
"""Variables that set a key: where URLs with passwords belong, since files get copied."""

LARGEST_FILE_BYTES = 1_000_000
_URLS = frozenset({"store.url", "bus.url", "search.storage"})

Table = dict[str, Any]


def load(
    path: Path | str | None = None, profile: str | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read, overlay and check the configuration.

    Args:
        path: the file; None looks for ``plimsoll.toml`` here, then in the user's configuration directory, and takes the
            defaults where there is none.
        profile: dev, staging or prod; None takes ``PLIMSOLL_PROFILE``, else dev.
        overrides: dotted keys (``web.port``) to values, from the command line; None values are left out.

    Raises:
        ConfigError: one line with the dotted key, the reason and what to write.
    """
    profile = profile or os.environ.get("PLIMSOLL_PROFILE") or "dev"
    if profile not in PROFILES:
        hint = _did_you_mean(profile, PROFILES)
        raise ConfigError(f"profile {profile!r} is unknown{hint}; there are {', '.join(PROFILES)}")
    file = _find(path)
    document = _read(file) if file else {}
    overlays = document.pop("profile", {})
    if not isinstance(overlays, dict):
        raise ConfigError(f"{file}: profile must be tables such as [profile.dev]")
    name = str(file) if file else ""
    for each, overlay in cast(Table, overlays).items():
        if each not in PROFILES:
            raise ConfigError(f"{file}: [profile.{each}] is unknown{_did_you_mean(each, PROFILES)}")
        if not isinstance(overlay, dict):
            raise ConfigError(f"{file}: profile.{each} must be a table")
        if each != profile:
            _with_place(f"{file} [profile.{each}]: ", _layers(document, cast(Table, overlay), name, each, {}))
    overlay = cast(Table, overlays.get(profile, {}))
    return _with_place(f"{file}: " if file else "", _layers(document, overlay, name, profile, overrides or {}))


def _with_place(place: str, layers: tuple[Table, dict[str, str], str, str]) -> Config:
    merged, sources, name, profile = layers
    try:
        return _build(merged, sources, name, profile)
    except ConfigError as error:
        key = re.match(r"\[?([\w.]+)", str(error))
        source = sources.get(key.group(1), "") if key else ""
        outside = source == "command line" or source.startswith("environment")
        raise ConfigError(f"{source}: {error}" if outside else f"{place}{error}") from None


def _find(path: Path | str | None) -> Path | None:
    if path is not None:
        file = Path(path)
        if not file.is_file():
            raise ConfigError(f"configuration file {file} does not exist; leave --config out to take the defaults")
        return file
    here = Path(FILE_NAME)
    return next(
        (file for file in (here, platformdirs.user_config_path("plimsoll") / FILE_NAME) if file.is_file()), None
    )


def _read(file: Path) -> Table:
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigError(f"{file} has more than {LARGEST_FILE_BYTES} bytes; is it a configuration?")
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None


def _layers(
    document: Table, overlay: Table, name: str, profile: str, overrides: Mapping[str, Any]
) -> tuple[Table, dict[str, str], str, str]:
    merged: Table = {}
    sources: dict[str, str] = {}
    _merge(merged, document, "", name, sources)
    _merge(merged, overlay, "", f"{name} [profile.{profile}]", sources)
    for variable, key in ENVIRONMENT.items():
        if os.environ.get(variable):
            _merge(merged, _nest(key, os.environ[variable]), "", f"environment {variable}", sources)
    for key, value in overrides.items():
        if value is not None:
            _merge(merged, _nest(key, value), "", "command line", sources)
    return merged, sources, name, profile


def _nest(key: str, value: Any) -> Table:
    for part in reversed(key.split(".")):
        value = {part: list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value}
    return value


def _merge(into: Table, layer: Table, prefix: str, source: str, sources: dict[str, str]) -> None:
    """Lay one table over another: tables join, everything else is replaced."""
    for key, value in layer.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict):
            below = into.get(key)
            table: Table = cast(Table, below) if isinstance(below, dict) else {}
            into[key] = table
            _merge(table, cast(Table, value), f"{dotted}.", source, sources)
        else:
            into[key] = value
            sources[dotted] = source


# --- checking --------------------------------------------------------------------------------------------------


def _build(merged: Table, sources: dict[str, str], name: str, profile: str) -> Config:
    merged = dict(merged)
    instruments = merged.pop("instruments", {})
    if not isinstance(instruments, dict):
        raise ConfigError("instruments must be tables such as [instruments.EURUSD]")
    specified = {symbol.upper(): _instrument(symbol, table) for symbol, table in cast(Table, instruments).items()}
    config: Config = _struct(Config, merged, "", skip=NOT_IN_FILE)
    return msgspec.structs.replace(config, instruments=specified, profile=profile, file=name, sources=sources)


def _struct(kind: type[Any], table: Table, prefix: str, skip: frozenset[str] = frozenset()) -> Any:
    """Convert a table to a struct, field by field, so that an error knows its key."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind) if field.encode_name not in skip}
    values: Table = {}
    for key, value in table.items():
        dotted = f"{prefix}{_key(key)}"
        field = fields.get(key)
        if field is None:
            where = f"[{prefix[:-1]}]" if prefix else "the top level"
            known = f"; {where} knows {', '.join(fields)}" if not (hint := _did_you_mean(key, fields)) else hint
            raise ConfigError(f"{dotted} is unknown{known}")
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            if not isinstance(value, dict):
                raise ConfigError(f"{dotted} = {_show(dotted, value)}: expected a table; write [{dotted}]")
            values[field.name] = _struct(field.type, cast(Table, value), f"{dotted}.")
        elif (below := _struct_by_name(field.type)) is not None:
            if not isinstance(value, dict) or not all(isinstance(each, dict) for each in cast(Table, value).values()):
                raise ConfigError(f"{dotted} = {_show(dotted, value)}: expected tables such as [{dotted}.NAME]")
            named = cast("dict[str, Table]", value)
            values[field.name] = {name: _struct(below, each, f"{dotted}.{_key(name)}.") for name, each in named.items()}
        else:
            values[field.name] = _value(dotted, value, field)
    try:
        return kind(**values)
    except (ValueError, TypeError, DataError, ConfigError) as error:
        reason = str(error)
        if any(reason.startswith(name) for name in fields):
            reason = prefix + reason
        elif not reason.startswith(prefix):
            reason = f"[{prefix[:-1]}] {reason}"
        raise ConfigError(reason) from None


def _struct_by_name(kind: Any) -> type[msgspec.Struct] | None:
    """The struct of a field that holds one under each of many names; None where it holds something else."""
    if get_origin(kind) is not dict:
        return None
    below = get_args(kind)[1]
    return below if isinstance(below, type) and issubclass(below, msgspec.Struct) else None


def _value(dotted: str, value: Any, field: msgspec.structs.FieldInfo) -> Any:
    shown = _show(dotted, value)
    for number in cast("list[Any]", value) if isinstance(value, list) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{dotted} = {shown}: not a finite number; {_default(field)}")
    if get_origin(field.type) is Literal:
        choices = [str(choice) for choice in get_args(field.type)]
        if value not in choices:
            hint = _did_you_mean(str(value), choices)
            raise ConfigError(f"{dotted} = {shown}: expected one of {', '.join(choices)}{hint}")
    try:
        return msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "").replace("Expected", "expected").replace("Invalid", "invalid")
        reason = re.sub(r" - at \$(\S*)", lambda at: f" at element {at.group(1)}" if at.group(1) else "", reason)
        raise ConfigError(f"{dotted} = {shown}: {reason}; {_default(field)}") from None


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f"the default is {toml_of(msgspec.to_builtins(field.default))}"
    return "the default is empty" if field.default_factory is not msgspec.NODEFAULT else "it has no default"


def _instrument(symbol: str, table: Any) -> Instrument:
    """The default for such a pair with the given fields changed; an unusual symbol must name its assets."""
    name = f"instruments.{_key(symbol)}"
    prefix = f"{name}."
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: expected a table; write [{name}]")
    given = cast(Table, table)
    try:
        usual = default_instrument(symbol)
    except DataError:
        if "base" not in given or "quote" not in given:
            raise ConfigError(f"{name}: not a six-letter pair; write its base and quote") from None
        usual = Instrument(symbol=symbol.upper(), base="", quote="")
    checked: Instrument = _struct(Instrument, {"symbol": symbol.upper(), "base": "?", "quote": "?"} | given, prefix)
    changes: Table = {key: getattr(checked, key) for key in given}
    instrument = msgspec.structs.replace(usual, **(changes | {"symbol": symbol.upper()}))
    try:
        check_instrument(instrument)
    except ValueError as error:
        raise ConfigError(f"{prefix}{error}") from None
    return instrument


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


# --- showing ---------------------------------------------------------------------------------------------------


def mask_url(url: str) -> str:
    """A URL that may be shown: passwords and tokens become ``***``."""
    masked = re.sub(r"(//[^/@:]*):.*@", r"\1:***@", url)
    masked = re.sub(r"(?i)(pass\w*|token|\w*password)=[^&\s]*", r"\1=***", masked)
    return re.sub(r"^(nats|tls|wss?)://[^:@/]+@", r"\1://***@", masked)  # a NATS URL with a token has no user


def _show(dotted: str, value: Any) -> str:
    """A value for an error message: masked, and never longer than a line."""
    text = toml_of(mask_url(value) if dotted in _URLS and isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def toml_of(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_of(each) for each in cast("list[Any]", value)) + "]"
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {toml_of(each)}" for key, each in cast(Table, value).items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def flatten(config: Config) -> dict[str, tuple[Any, str]]:
    """Every dotted key with its value (passwords masked) and where that came from, in the file's order."""
    tree = {key: value for key, value in msgspec.to_builtins(config).items() if key not in NOT_IN_FILE}
    flat: dict[str, tuple[Any, str]] = {}

    def walk(table: Table, prefix: str) -> None:
        for key, value in table.items():
            dotted = f"{prefix}{key}"
            if isinstance(value, dict) and dotted != "strategy.params":
                walk(cast(Table, value), f"{dotted}.")
            elif not (prefix.startswith("instruments.") and key == "symbol"):
                below = [config.sources[name] for name in config.sources if name.startswith(f"{dotted}.")]
                source = config.sources.get(dotted, below[-1] if below else "default")
                flat[dotted] = (mask_url(str(value)) if dotted in _URLS else value, source)

    walk(tree, "")
    return flat


def explain(config: Config) -> str:
    """The configuration as TOML that loads again, with a comment on where each value came from."""
    lines = [f"# profile: {config.profile}; file: {config.file or 'none, defaults only'}"]
    section = ""
    for dotted, (value, source) in flatten(config).items():
        table, _, key = dotted.rpartition(".")
        if table != section:
            lines += ["", f"[{table}]"]
            section = table
        lines.append(f"{f'{key} = {toml_of(value)}':<44} # {source}")
    return "\n".join(lines) + "\n"


def explain_json(config: Config) -> Table:
    """The same as one JSON-able object: profile, file, and per key its value and source."""
    values = {key: {"value": value, "source": source} for key, (value, source) in flatten(config).items()}
    return {"profile": config.profile, "file": config.file or None, "values": values}


# --- places ----------------------------------------------------------------------------------------------------


def state_dir(config: Config) -> Path:
    """Where journals, models and reports live, as an absolute path; not made here."""
    return Path(config.state).expanduser().absolute() if config.state else platformdirs.user_data_path("plimsoll")


def store_url(config: Config) -> str:
    """The store's URL: the configured one, or SQLite in the state directory."""
    return config.store.url or f"sqlite:///{state_dir(config) / 'plimsoll.db'}"

"""From the configuration to the tokens: where they rest, under which key, and who asks for new ones."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

import platformdirs

from adapters.ctrader import keys
from adapters.ctrader.grants import Answer, Tokens
from adapters.ctrader.oauth import TokenEndpoint
from adapters.ctrader.secret import Secret
from adapters.ctrader.tokens import TokenKeeper
from adapters.ctrader.tokenstore import TokenStore, locked, remove
from adapters.ctrader.vault import PrivateFolder, Sealed
from bus.errors import ConfigError
from daemon.config import Config, state_dir


class Places(NamedTuple):
    """Where the tokens of a configuration rest.

    Attributes:
        store: the sealed file.
        key_file: of its key, where that is a file.
        key_name: of its key in a keyring; every store has its own.
        own_key: may the key be removed with the store, or did the user choose its file?
    """

    store: Path
    key_file: Path
    key_name: str
    own_key: bool


def places(config: Config) -> Places:
    """Where things rest; nothing is made. The key is kept apart from the store, so that a copy of one is no use."""
    section = config.ctrader
    store = Path(section.token_file).expanduser() if section.token_file else state_dir(config) / "ctrader" / "tokens"
    store = store.absolute()
    name = f"token store {hashlib.sha256(str(store).encode()).hexdigest()[:16]}"
    if section.token_key_file:
        return Places(store, Path(section.token_key_file).expanduser().absolute(), name, own_key=False)
    file = platformdirs.user_config_path("plimsoll") / "keys" / f"{name.rpartition(' ')[2]}.key"
    return Places(store, file.absolute(), name, own_key=True)


def open_store(config: Config, *, create: bool = False) -> TokenStore | None:
    """The store; None = there is none yet, and none was to be made.

    Raises:
        ConfigError: it cannot be opened; says what to do.
    """
    place = places(config)
    if not create and not place.store.parent.is_dir():
        return None
    folder = PrivateFolder(place.store.parent)
    sealer = keys.sealer(config.ctrader.token_key, place.key_file, place.key_name, create=create)
    if sealer is None:
        if folder.read(place.store.name) is None:
            return None
        raise ConfigError(
            f"there are tokens in {place.store} and no key for them; set ctrader.token_key to where it rests, or run "
            "`plimsoll auth logout`, then `plimsoll auth login`"
        )
    sealed = Sealed(folder, sealer, place.store.name)
    return TokenStore(sealed, config.ctrader.client_id, config.ctrader.token_url)


async def remove_store(config: Config) -> bool:
    """Remove the store, and the key that opened it where we made it. The store need not open. Was there one?"""
    place = places(config)
    if not place.store.parent.is_dir():
        return False
    folder = PrivateFolder(place.store.parent)
    async with locked(folder, place.store.name):
        removed = remove(folder, place.store.name)
    if removed:
        keys.forget(config.ctrader.token_key, place.key_file if place.own_key else None, place.key_name)
    return removed


def given_secret(config: Config) -> Secret | None:
    """The client secret from its file or from systemd's credentials; None = neither.

    Raises:
        ConfigError: the file is unfit.
    """
    file = config.ctrader.client_secret_file
    return keys.client_secret(Path(file).expanduser() if file else None)


def endpoint(config: Config, client_secret: Secret) -> TokenEndpoint:
    """The token endpoint of a configuration.

    Raises:
        ConfigError: its URL or authority is unfit, or no application is named.
    """
    section = config.ctrader
    if not section.client_id:
        raise ConfigError("ctrader.client_id is empty; write the id of the application registered with the broker")
    return TokenEndpoint(
        section.token_url, section.client_id, client_secret, Path(section.ca_file) if section.ca_file else None
    )


def open_keeper(config: Config, store: TokenStore) -> TokenKeeper:
    """Who hands out access tokens and keeps them fresh.

    Raises:
        ConfigError: the configuration is unfit.
    """
    given = given_secret(config)

    async def ask(refresh_token: Secret) -> Answer:
        return await endpoint(config, given or _kept(store.peek())).refresh(refresh_token)

    tokens = store.peek()
    if given is not None or tokens is not None:
        endpoint(config, given or _kept(tokens))  # a mistake is found now, not on the day of the first refresh
    return TokenKeeper(store, ask, time.time_ns)


def _kept(tokens: Tokens | None) -> Secret:
    if tokens is None or tokens.client_secret is None:
        raise ConfigError(
            "the application's client secret is not known; set ctrader.client_secret_file, or run `plimsoll auth login`"
        )
    return tokens.client_secret

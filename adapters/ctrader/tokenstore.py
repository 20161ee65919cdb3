"""The token store: one sealed file, its lock, and whose tokens they are."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec

from adapters.ctrader.grants import Tokens, TokensUnavailable, decode, encode
from adapters.ctrader.vault import Folder, Sealed, shred
from bus.errors import ConfigError


@contextlib.asynccontextmanager
async def locked(folder: Folder, name: str, wait_s: float = 60) -> AsyncGenerator[None]:
    """Hold a store against other processes and tasks, by its lock file, which stays.

    Raises:
        TokensUnavailable: another one holds it for longer than `wait_s`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while (handle := folder.try_lock(f"{name}.lock")) is None:
        if loop.time() >= deadline:
            raise TokensUnavailable(f"another process has held the token store for {wait_s:.0f} s")
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        folder.close(handle)


def remove(folder: Folder, name: str) -> bool:
    """Shred and remove a store and what a crash left of it. Needs the lock. Was there anything?"""
    unfinished = shred(folder, f"{name}.next")
    return shred(folder, name) or unfinished


class TokenStore:
    """The sealed file of tokens, bound to one application and one token endpoint.

    Args:
        lock_wait_s: how long to wait for another process.

    Raises:
        ConfigError: from every method: the store cannot be opened, is damaged, or belongs to another application.
    """

    def __init__(self, sealed: Sealed, client_id: str, token_url: str, lock_wait_s: float = 60) -> None:
        self.sealed = sealed
        self._client_id = client_id
        self._token_url = token_url
        self._lock_wait_s = lock_wait_s

    def locked(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Hold the store against other processes and tasks.

        Raises:
            TokensUnavailable: another one holds it for too long.
        """
        return locked(self.sealed.folder, self.sealed.name, self._lock_wait_s)

    def peek(self) -> Tokens | None:
        """What is in force, without the lock: enough where nothing is to be changed."""
        content = self.sealed.read()
        return None if content is None else self._ours(decode(content))

    def load(self) -> Tokens:
        """What is in force after adopting what a crash left finished. Needs the lock."""
        tokens = self.peek()
        unfinished = self.sealed.read_next()
        if unfinished is not None and decode(unfinished).generation == (tokens.generation if tokens else 0) + 1:
            tokens = self._ours(decode(unfinished))
            self.sealed.adopt_next()
        else:
            self.sealed.drop_next()
        return tokens or Tokens(client_id=self._client_id, token_url=self._token_url)

    def save(self, tokens: Tokens) -> Tokens:
        """Put in force, durable, as the next generation. Needs the lock."""
        after = msgspec.structs.replace(tokens, generation=tokens.generation + 1)
        with self.sealed.reserve() as room:
            room.commit(encode(after))
        return after

    def _ours(self, tokens: Tokens) -> Tokens:
        if (tokens.client_id, tokens.token_url) != (self._client_id, self._token_url):
            raise ConfigError(
                f"the stored tokens belong to application {tokens.client_id!r} at {tokens.token_url}; set "
                "ctrader.client_id and ctrader.token_url so, or run `plimsoll auth logout`"
            )
        return tokens

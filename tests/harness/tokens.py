"""A token endpoint that follows the reference, a folder that loses power, and keepers on top of both."""

import asyncio
import random

from adapters.ctrader.grants import Issued, TokenRefused, Unanswered
from adapters.ctrader.secret import Secret
from adapters.ctrader.tokens import TokenKeeper
from adapters.ctrader.tokenstore import TokenStore
from adapters.ctrader.vault import Sealed, Sealer
from bus.values import NS_PER_S

MARK = "TOKENMARK"
"""Begins every token, so that one search finds any of them."""

LIFETIME_S = 2_628_000
KEY = bytes(range(32))


class Crash(BaseException):
    """The process is gone."""


class Broker:
    """Reference 2.5: a refresh rotates both tokens, a used refresh token is refused, each consent is its own grant.

    `consent_ends_others` is the other reading of the broker's documentation.
    """

    def __init__(self, *, consent_ends_others=False):
        self.consent_ends_others = consent_ends_others
        self.refresh_tokens: dict[str, int] = {}
        self.access_tokens: dict[str, int] = {}
        self._count = 0

    def consent(self):
        if self.consent_ends_others:
            self.refresh_tokens.clear()
        self._count += 1
        return self._issue(self._count)

    def _issue(self, grant):
        self._count += 1
        access, refresh = f"{MARK}-access-{self._count}", f"{MARK}-refresh-{self._count}"
        self.access_tokens = {token: each for token, each in self.access_tokens.items() if each != grant}
        self.access_tokens[access] = grant
        self.refresh_tokens[refresh] = grant
        return Issued(Secret(access), Secret(refresh), LIFETIME_S)

    def refresh(self, token):
        grant = self.refresh_tokens.pop(token.reveal(), None)
        if grant is None:
            return TokenRefused("CH_ACCESS_TOKEN_INVALID", "", "token")
        return self._issue(grant)

    def accepts(self, token):
        return token.reveal() in self.access_tokens


class Machine:
    """Counts every system call and every leg of a request, and dies before the one it is told to."""

    def __init__(self, crash_at=None):
        self.crash_at = crash_at
        self.steps: list[str] = []
        self.dead = False

    def step(self, what):
        if self.dead:
            raise Crash
        if len(self.steps) == self.crash_at:
            self.dead = True
            raise Crash
        self.steps.append(what)


class LosingFolder:
    """A `vault.Folder` in memory that knows what is durable.

    A kill keeps what was written; a power cut keeps what was synced, and of the rest any part.
    """

    def __init__(self):
        self.machine = Machine()
        self._contents: dict[int, bytes] = {}
        self._durable: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self._durable_names: dict[str, int] = {}
        self._changes: list[tuple[str, int | None]] = []
        self._count = 0
        self._locked = False

    def files(self):
        return list(self._contents.values()) + list(self._durable.values())

    def restart(self, rng=None):
        """Come up again after a kill, or after a power cut where there is a source of bad luck."""
        self._locked = False
        self.machine = Machine()
        if rng is None:
            return
        names = dict(self._durable_names)
        for name, inode in self._changes:
            if rng.random() < 0.5:
                names.pop(name, None) if inode is None else names.update({name: inode})
        for inode, written in self._contents.items():
            kept = self._durable.get(inode, b"")
            if kept != written:
                cut = rng.randrange(len(written) + 1)
                self._contents[inode] = rng.choice([kept, written, written[:cut], written[:cut] + kept[cut:]])
        self._durable = dict(self._contents)
        self._names, self._durable_names, self._changes = names, dict(names), []

    def read(self, name):
        self.machine.step("read")
        inode = self._names.get(name)
        return None if inode is None else self._contents[inode]

    def reserve(self, name, size):
        self.machine.step("create")
        if name in self._names:
            raise FileExistsError(17, "File exists")
        self._count += 1
        self._contents[self._count] = b""
        self._link(name, self._count)
        self.machine.step("allocate")
        self._contents[self._count] = self._durable[self._count] = bytes(size)
        return self._count

    def open(self, name):
        self.machine.step("open")
        return self._names[name]

    def write(self, handle, data):
        self.machine.step("write")
        self._contents[handle] = data[: len(data) // 2] + self._contents[handle][len(data) // 2 :]
        self.machine.step("write on")
        self._contents[handle] = data

    def sync(self, handle):
        self.machine.step("sync")
        self._durable[handle] = self._contents[handle]

    def close(self, handle):
        if handle == -1:
            self._locked = False

    def rename(self, old, new):
        self.machine.step("rename")
        self._link(new, self._names[old])
        self._link(old, None)

    def sync_folder(self):
        self.machine.step("sync folder")
        self._durable_names, self._changes = dict(self._names), []

    def remove(self, name):
        self.machine.step("remove")
        if name in self._names:
            self._link(name, None)

    def try_lock(self, name):
        self.machine.step("lock")
        if self._locked:
            return None
        self._locked = True
        return -1

    def _link(self, name, inode):
        self._names.pop(name, None) if inode is None else self._names.update({name: inode})
        self._changes.append((name, inode))


class Desk:
    """A broker, a folder and the time; `keeper` is a fresh process."""

    def __init__(self, folder=None, broker=None, now_ns=1_700_000_000 * NS_PER_S):
        self.folder = folder or LosingFolder()
        self.broker = broker or Broker()
        self.now_ns = now_ns
        self.asked = 0
        self.lost_answers = 0
        self.no_answer: Unanswered | None = None
        self._under_way = False

    def pass_days(self, days):
        self.now_ns += int(days * 86_400) * NS_PER_S

    async def ask(self, token):
        self.asked += 1
        if self.no_answer is not None and not self.no_answer.sent:
            return self.no_answer
        self.step("request")
        answer = self.broker.refresh(token)
        if isinstance(answer, Issued):
            self._under_way = True
        self.step("rotated")
        await asyncio.sleep(0)
        if self.no_answer is not None:
            self._under_way = False
            return self.no_answer
        self.step("answered")
        return answer

    def step(self, what):
        if isinstance(self.folder, LosingFolder):
            self.folder.machine.step(what)

    def store(self):
        sealed = Sealed(self.folder, Sealer(KEY, "a test"), "tokens")
        return TokenStore(sealed, "app", "https://broker/token", lock_wait_s=1)

    def keeper(self):
        return TokenKeeper(self.store(), self.ask, lambda: self.now_ns)

    def log_in(self, *, spare=True):
        async def both():
            await self.keeper().log_in(self.broker.consent(), None, keep_as_spare=False)
            if spare:
                return await self.keeper().log_in(self.broker.consent(), None, keep_as_spare=True)
            return False

        return asyncio.run(both())

    def run(self, method="access_token", *arguments):
        """One call in a fresh process."""
        return asyncio.run(getattr(self.keeper(), method)(*arguments))

    def crash(self, at, method="access_token", rng=None):
        """Die before step `at` of a call, and come up again; False = the call was over before."""
        self.folder.machine = Machine(at)
        known = set(self.broker.refresh_tokens)
        try:
            self.run(method)
        except Crash:
            self.folder.restart(rng)
            self._count_losses(known)
            return True
        self.folder.restart()
        return False

    def _count_losses(self, known):
        """A rotation whose new refresh token is nowhere on the disk is a lost answer."""
        tokens = self.store().peek()
        unfinished = self.store().sealed.read_next()
        from adapters.ctrader.grants import decode

        kept = set()
        for each in (tokens, decode(unfinished) if unfinished else None):
            for grant in (each.active, each.spare) if each else ():
                if grant:
                    kept.add(grant.pair.refresh.reveal())
        self.lost_answers += len(set(self.broker.refresh_tokens) - known - kept)


def luck(seed):
    return random.Random(seed)

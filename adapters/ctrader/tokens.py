"""Access tokens that refresh by themselves, and a crash at any point that locks nobody out.

Theory of operation. A refresh token is good for one use: the broker answers with a new pair and forgets the old one,
refresh and access token both (reference 2.5). It documents no grace. So one hole cannot be closed from here: the broker
has rotated, and we die before its answer is durable. It is made small, and it is made harmless.

Small: a refresh is

    1  lock the store against other processes, read it, adopt what a crash left finished
    2  write down that a refresh begins (the intent), durable
    3  take the room on the disk for the answer, durable
    4  one request, never repeated by itself, not cut short by a cancelled task or Ctrl-C
    5  the answer is written, synced, renamed, the folder synced; there is no await between 4 and here
    6  unlock; only now is the new pair handed out

    killed in           finds on the next start                     and then
    1, or 2 before      the old pair, nothing begun                 refreshes
    2 after, 3          the old pair in doubt                       refreshes: the broker never heard of it
    4, before rotation  the same                                    the same
    4, after rotation   the same, and the broker refuses it         THE HOLE: the spare takes over
    5, before it is     the same (killed in the write), or the      the same, or adopts it
       durable          whole answer in ``NAME.next``
    5 after, 6          the new pair                                uses it

The hole is as long as the way of an answer and one write where the process is killed, and one sync longer where the
power goes. An answer that gets lost on its way is the same case without a crash.

Harmless: each consent of the user is an independent grant, and refreshing one disturbs no other (2.5). So
`plimsoll auth login` asks for two, and the second is a *spare*. Whenever the active grant is due the spare is refreshed
first, so that it is known to work and needs no refresh to take over; a grant is not touched while the other one is in
doubt and can still be settled. One crash anywhere therefore leaves a grant that works without a person, and
`TokenKeeper.trouble` and `plimsoll auth status` say that a new spare is wanted. Two such crashes without a login
between them, or one where the user wanted no spare, can cost the grant: the old access token is handed out while it
lives (whether the broker still serves it is not settled; 2.5 has one report that it does), and then `LoginNeeded` says
what happened when, and what to do.

That a consent leaves earlier ones alone was recorded; the broker's page of questions says that it ends them. Either is
survived: the newest grant is the active one, and an older one becomes the spare only by being refreshed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from adapters.ctrader.grants import (
    Account,
    Answer,
    Grant,
    Issued,
    LoginNeeded,
    Loss,
    Role,
    TokenRefused,
    Tokens,
    TokensUnavailable,
    Unanswered,
    encode,
    pair_of,
)
from adapters.ctrader.secret import Secret
from adapters.ctrader.tokenstore import TokenStore
from bus.errors import ConfigError, RateLimited
from bus.values import NS_PER_S

Ask = Callable[[Secret], Awaitable[Answer]]
"""Sends a refresh token once and gives the answer as a value; it raises nothing of its own."""

YOUNGEST_REFRESH_S = 10
"""A token refused so soon after it was issued is not refreshed: refreshing ends logins itself, and would loop."""

PAUSE_S = 30
"""How long the endpoint is left alone after no answer, while the access token lives."""

KEPT_LOSSES = 8

_T = TypeVar("_T")


class TokenKeeper:
    """Hands out access tokens that live, and refreshes them before they end.

    Args:
        ask: sends a refresh token to the endpoint.
        now_ns: the wall clock, UTC nanoseconds.
    """

    def __init__(self, store: TokenStore, ask: Ask, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._ask = ask
        self._now_ns = now_ns
        self._unsaved: Tokens | None = None
        self._tidy = False  # what a crash may have left is looked for once, under the lock
        self._not_before_ns = 0
        self.trouble = ""
        """What went wrong last and a person should know; empty = nothing. Holds no secret."""

    async def access_token(self) -> Secret:
        """A token that lives, refreshed where it is due. Call it at every sign-in: another process may have refreshed.

        Raises:
            LoginNeeded: only a person can help.
            TokensUnavailable: try again later.
            ConfigError: the store or the application's credentials are wrong.
        """
        tokens = self._store.peek() if self._tidy else None
        if tokens is not None and tokens.active is not None and not self._wants_work(tokens, tokens.active):
            return tokens.active.pair.access
        return await _unbroken(self._work(force=False, refused=None))

    async def replace(self, refused: Secret) -> Secret:
        """Another token for one that the broker refused: the newest known where that is another one, else a new one.

        Raises:
            RateLimited: it was issued a moment ago; refreshing again would loop.
            LoginNeeded, TokensUnavailable, ConfigError: as `access_token`.
        """
        return await _unbroken(self._work(force=False, refused=refused))

    async def refresh(self) -> Secret:
        """Refresh now, due or not, the spare first.

        Raises:
            LoginNeeded, TokensUnavailable, ConfigError: as `access_token`, also where the old token lives.
        """
        return await _unbroken(self._work(force=True, refused=None))

    def due_at_ns(self) -> int:
        """When to call `access_token` next even if nothing else does; 0 = at once."""
        tokens = self._store.peek()
        if tokens is None or tokens.active is None or tokens.active.in_doubt:
            return 0
        return max(tokens.active.pair.due_at_ns, self._not_before_ns)

    async def log_in(self, issued: Issued, client_secret: Secret | None, *, keep_as_spare: bool) -> bool:
        """Take a new grant into use.

        Args:
            issued: what the consent gave.
            client_secret: kept sealed with the tokens; None = it is kept elsewhere.
            keep_as_spare: the grant in use until now becomes the spare, and is tried at once.

        Returns:
            Is there a spare that works?
        """
        return await _unbroken(self._log_in(issued, client_secret, keep_as_spare=keep_as_spare))

    async def note_accounts(self, accounts: tuple[Account, ...]) -> None:
        """Remember which accounts the active grant covers."""
        async with self._store.locked():
            tokens = self._load()
            if tokens.active is not None and tokens.accounts != accounts:
                self._store.save(msgspec.structs.replace(tokens, accounts=accounts))

    # --- under the lock ----------------------------------------------------------------------------------------

    def _wants_work(self, tokens: Tokens, active: Grant) -> bool:
        now_ns = self._now_ns()
        if not active.pair.lives(now_ns):
            return True
        if active.refused_ns and tokens.spare is None:
            return False  # it lives on as long as it does; a refresh would be refused again
        waiting = now_ns < self._not_before_ns
        return not waiting and (active.in_doubt or active.refused_ns > 0 or active.pair.due(now_ns))

    def _load(self) -> Tokens:
        """The store's tokens; a pair that could not be made durable before is made so first."""
        tokens = self._store.load()
        self._tidy = True
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is not None and tokens.generation == unsaved.generation - 1:
            return self._save(unsaved, generation=tokens.generation)
        return tokens

    def _save(self, tokens: Tokens, generation: int) -> Tokens:
        """Make an answer durable; what cannot be made so stays in memory, unused, until it can."""
        try:
            self._store.sealed.drop_next()
            return self._store.save(msgspec.structs.replace(tokens, generation=generation))
        except OSError as error:
            self._unsaved = msgspec.structs.replace(tokens, generation=generation + 1)
            self._tidy = False
            raise TokensUnavailable(
                f"new tokens came and cannot be stored ({error.strerror}); they are kept in memory and not used until "
                "they can: make room, and do not stop this process"
            ) from None

    async def _work(self, *, force: bool, refused: Secret | None) -> Secret:
        try:
            return await self._locked_work(force=force, refused=refused)
        except OSError as error:
            self.trouble = f"the token store cannot be used: {error.strerror}"
            tokens = self._store.peek()
            old = tokens.active.pair if tokens is not None and tokens.active is not None else None
            if old is not None and old.lives(self._now_ns()) and old.access != refused and not force:
                return old.access
            raise TokensUnavailable(self.trouble) from None

    async def _locked_work(self, *, force: bool, refused: Secret | None) -> Secret:
        async with self._store.locked():
            tokens = self._load()
            active = tokens.active
            if active is None:
                raise LoginNeeded("nobody is logged in; run `plimsoll auth login`")
            if refused is not None:
                if active.pair.access != refused:
                    return active.pair.access
                self._check_age(active)
            elif not force and not self._wants_work(tokens, active):
                return active.pair.access
            return await self._renew(tokens, active, refused, force=force)

    async def _renew(self, tokens: Tokens, active: Grant, refused: Secret | None, *, force: bool) -> Secret:
        spare, answer = tokens.spare, None
        settled = not active.in_doubt and not active.refused_ns
        if spare is not None and settled and (force or spare.in_doubt or spare.pair.due(self._now_ns())):
            tokens, answer = await self._rotate(tokens, "spare")
            if isinstance(answer, Unanswered) and active.pair.lives(self._now_ns()) and refused is None:
                return self._make_do(tokens, refused, answer, force=force)
        while tokens.active is not None:
            if force or not tokens.active.refused_ns:
                tokens, answer = await self._rotate(tokens, "active")
                if isinstance(answer, Issued):
                    return tokens.active.pair.access if tokens.active else active.pair.access
            spare = tokens.spare
            if spare is None or not (tokens.active and tokens.active.refused_ns) or spare.pair.lives(self._now_ns()):
                break
            # The active grant is dead, and the spare has slept for longer than its access token lives.
            tokens = self._store.save(msgspec.structs.replace(tokens, active=spare, spare=None, spare_tried_ns=0))
        return self._make_do(tokens, refused, answer, force=force)

    def _check_age(self, active: Grant) -> None:
        age_s = (self._now_ns() - active.pair.issued_ns) // NS_PER_S
        if 0 <= age_s < YOUNGEST_REFRESH_S and not active.in_doubt:
            raise RateLimited(float(YOUNGEST_REFRESH_S - age_s))

    async def _rotate(self, tokens: Tokens, role: Role) -> tuple[Tokens, Answer]:
        """Refresh one grant: steps 2 to 5 of the theory of operation."""
        before = tokens.active if role == "active" else tokens.spare
        assert before is not None
        grant = before if before.in_doubt else msgspec.structs.replace(before, intent_ns=self._now_ns(), refused_ns=0)
        answer: Answer = Unanswered(sent=False, reason="nothing was asked")
        try:
            tokens = self._store.save(_with(tokens, role, grant))
            for pair in (grant.pair, grant.previous):
                if pair is None:
                    continue
                after: Tokens | None = None
                try:
                    with self._store.sealed.reserve() as room:
                        answer = await self._ask(pair.refresh)
                        if isinstance(answer, Issued):
                            after = self._issued(tokens, role, grant, answer)
                            room.commit(encode(after))
                            return after, answer
                except OSError:
                    if after is None:
                        raise
                    return self._save(after, generation=tokens.generation), answer
                if not (isinstance(answer, TokenRefused) and answer.kind == "token"):
                    break
            return self._not_issued(tokens, role, before, grant, answer), answer
        except OSError as error:
            # Found before anything was asked: the old pair is as good as it was.
            return tokens, Unanswered(sent=False, reason=f"the token store cannot be written: {error.strerror}")

    def _issued(self, tokens: Tokens, role: Role, grant: Grant, answer: Issued) -> Tokens:
        now_ns = self._now_ns()
        self._not_before_ns, self.trouble = 0, ""
        after = _with(tokens, role, Grant(pair=pair_of(answer, now_ns), previous=grant.pair))
        tried_ns = now_ns if role == "spare" else tokens.spare_tried_ns
        return msgspec.structs.replace(after, spare_tried_ns=tried_ns, generation=tokens.generation + 1)

    def _not_issued(self, tokens: Tokens, role: Role, before: Grant, grant: Grant, answer: Answer) -> Tokens:
        now_ns = self._now_ns()
        if isinstance(answer, TokenRefused) and answer.kind == "token":
            loss = Loss(role=role, at_ns=now_ns, code=answer.code, intent_ns=before.intent_ns if before.in_doubt else 0)
            losses = (*tokens.losses, loss)[-KEPT_LOSSES:]
            refused = msgspec.structs.replace(grant, refused_ns=now_ns, refused_code=answer.code)
            lost = _with(tokens, role, None if role == "spare" else refused)
            return self._store.save(msgspec.structs.replace(lost, losses=losses))
        if isinstance(answer, Unanswered):
            self._not_before_ns = now_ns + max(PAUSE_S, answer.retry_after_s) * NS_PER_S
            if answer.sent:
                return tokens  # the intent stands: nobody knows
        return self._store.save(_with(tokens, role, before))

    def _make_do(self, tokens: Tokens, refused: Secret | None, answer: Answer | None, *, force: bool) -> Secret:
        """The best token there is when the active grant could not be refreshed."""
        now_ns = self._now_ns()
        active, spare = tokens.active, tokens.spare
        assert active is not None
        why = _why(tokens, active, answer)
        old_lives = active.pair.lives(now_ns) and active.pair.access != refused
        if spare is not None and spare.pair.lives(now_ns) and (active.refused_ns or not old_lives):
            demoted = None if active.refused_ns else active
            tokens = self._store.save(msgspec.structs.replace(tokens, active=spare, spare=demoted, spare_tried_ns=0))
            self.trouble = f"{why}; the spare grant took over"
            if demoted is None:
                self.trouble += ", run `plimsoll auth login` for a new spare"
            return spare.pair.access
        self.trouble = why
        if old_lives and not force:
            if active.refused_ns:
                self.trouble += f"; trading ends at {_when(active.pair.expires_ns)}, run `plimsoll auth login` before"
            return active.pair.access
        if isinstance(answer, TokenRefused) and answer.kind == "client":
            raise ConfigError(f"{why}; check ctrader.client_id and the client secret")
        if active.refused_ns and spare is None:
            raise LoginNeeded(f"{why}; run `plimsoll auth login`")
        raise TokensUnavailable(f"{why}; try again later")

    async def _log_in(self, issued: Issued, client_secret: Secret | None, *, keep_as_spare: bool) -> bool:
        async with self._store.locked():
            tokens = self._load()
            now_ns = self._now_ns()
            self._not_before_ns, self.trouble = 0, ""
            spare = tokens.active if keep_as_spare else tokens.spare
            after = msgspec.structs.replace(
                tokens,
                active=Grant(pair=pair_of(issued, now_ns)),
                spare=spare,
                client_secret=client_secret,
                accounts=(),
                losses=(),
            )
            try:
                tokens = self._store.save(after)
            except OSError as error:
                raise ConfigError(
                    f"the tokens cannot be stored: {error.strerror}; log in again when they can"
                ) from None
            if spare is not None:
                tokens, _ = await self._rotate(tokens, "spare")
            return tokens.spare is not None


def _with(tokens: Tokens, role: Role, grant: Grant | None) -> Tokens:
    if role == "active":
        return msgspec.structs.replace(tokens, active=grant)
    return msgspec.structs.replace(tokens, spare=grant)


def _why(tokens: Tokens, active: Grant, answer: Answer | None) -> str:
    if isinstance(answer, Unanswered):
        return f"the token endpoint gave no answer: {answer.reason}"
    if isinstance(answer, TokenRefused) and answer.kind != "token":
        return f"the token endpoint refused ({answer.code}: {answer.text})"
    loss = next((loss for loss in reversed(tokens.losses) if loss.role == "active"), None)
    if loss is not None and loss.intent_ns:
        return (
            f"the broker refuses the refresh token ({active.refused_code}): a refresh that began at "
            f"{_when(loss.intent_ns)} was cut short after the broker had made the new pair"
        )
    return f"the broker refuses the refresh token ({active.refused_code}): it was revoked, or used elsewhere"


def _when(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


async def _unbroken(work: Coroutine[Any, Any, _T]) -> _T:
    """Await work that a cancelled caller does not interrupt; the cancellation takes effect when it is done."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except BaseException:  # noqa: BLE001 (raised again by result())
            break
    if cancelled:
        if not task.cancelled():
            task.exception()
        raise asyncio.CancelledError
    return task.result()

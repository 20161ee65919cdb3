"""Run coroutines in plain tests, and wait on conditions."""

import asyncio
import time


def run(coroutine, timeout_s=60):
    """The result of a coroutine on a fresh loop; fails where it takes longer."""

    async def limited():
        async with asyncio.timeout(timeout_s):
            return await coroutine

    return asyncio.run(limited())


async def until(condition, timeout_s=20):
    """Let others run until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.002)


async def take(subscription, count):
    """The next so many messages of a subscription."""
    return [await anext(subscription) for _ in range(count)]


async def rest(subscription):
    """All that a closed subscription still holds."""
    return [message async for message in subscription]

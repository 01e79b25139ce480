"""Ctrl-C lets asynchronous work tidy up, once, and is an interrupt to the caller."""

import asyncio
import os
import signal

import pytest

from training.demo import interrupt


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_signal_cancels_the_work_which_tidies_up_despite_a_second_one(
    number: signal.Signals,
) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
            seen.append("tidied up")

    with pytest.raises(KeyboardInterrupt):
        interrupt.run(work(), lambda: seen.append("told"))
    assert seen == ["told", "tidied up"]


def test_work_that_is_left_alone_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert interrupt.run(work(), lambda: None) == 7


def test_an_error_of_the_work_stays_what_it_is() -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        interrupt.run(work(), lambda: None)

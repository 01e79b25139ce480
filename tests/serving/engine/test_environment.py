import logging
from collections.abc import Iterator

import pytest
from vllm import envs

from serving.engine import environment

NAME = "VLLM_CHAT_TEMPLATE_RENDER_TIMEOUT"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(NAME, "7")
    yield
    envs.disable_envs_cache()


def test_what_vllm_has_read_is_kept_until_that_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    undo = environment.keep()
    monkeypatch.setenv(NAME, "8")
    assert getattr(envs, NAME) == 7
    undo()
    assert getattr(envs, NAME) == 8


def test_a_vllm_that_cannot_keep_it_reads_it_anew_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(envs, "enable_envs_cache")
    with caplog.at_level(logging.WARNING):
        undo = environment.keep()
    assert "anew at each use" in caplog.text
    monkeypatch.setenv(NAME, "8")
    assert getattr(envs, NAME) == 8
    undo()

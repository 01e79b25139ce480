"""A session's end says who ended it."""

import logging

import pytest

from serving.api.realtime.ending import Ended, why


def test_what_a_part_says_counts_before_what_broke() -> None:
    said = Ended("idle", 1000)
    assert why([None, OSError(), said]) is said


def test_a_client_that_has_left_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    assert why([ConnectionResetError()]).outcome == "closed"
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]


def test_what_nobody_foresaw_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    ended = why([ZeroDivisionError()])
    assert (ended.outcome, ended.code) == ("failed", 1011)
    assert "a session failed" in caplog.text

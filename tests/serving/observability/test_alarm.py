import logging

import pytest

from serving.observability.alarm import Alarm, utc


def test_an_alarm_is_logged_once_a_while_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarm = Alarm("the disk is full")
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            alarm.on(f"write {number}")
        assert alarm.since is not None
        assert alarm.reason == "write 999"
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "ALARM: the disk is full" in caplog.text
        assert "write 0" in caplog.text
        alarm.off()
        alarm.off()
    assert (alarm.since, alarm.reason) == (None, None)
    assert "Over: the disk is full" in caplog.messages[-1]
    assert "(1000 times)" in caplog.messages[-1]
    assert len(caplog.records) == 2


def test_a_lasting_alarm_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    alarm = Alarm("the disk is full", repeat_s=0)
    for _ in range(3):
        alarm.on("again")
    assert len(caplog.records) == 3
    assert "(3 times)" in caplog.messages[-1]


def test_it_says_since_when_it_is_on_and_not_when_it_was_last_heard() -> None:
    alarm = Alarm("x")
    alarm.on("first")
    since = alarm.since
    alarm.on("second")
    assert alarm.since == since


def test_what_is_over_is_recent_for_a_while() -> None:
    alarm = Alarm("x")
    assert not alarm.recent(60)
    alarm.on("now")
    assert alarm.recent(0)
    alarm.off()
    assert alarm.recent(60)
    assert not alarm.recent(0)


def test_times_are_utc() -> None:
    assert utc(0) == "1970-01-01T00:00:00Z"

"""Checks over real stores, ports and journals."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from serving import auth
from serving.capture import Journal
from serving.capture.journal import REJECTED
from serving.doctor import deployment
from serving.doctor.finding import State
from serving.store import audit
from serving.store.database import Database
from tests.serving.backup.conftest import Place, place


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return place(tmp_path / "d", f"sqlite:///{tmp_path / 'd' / 'store.sqlite'}")


def make_key(here: Place, expires_at: float | None = None) -> None:
    here.with_store(
        lambda db: auth.create(
            db, name="desk", roles=["service"], lobs=["care"], expires_at=expires_at
        )
    )


def test_a_store_that_is_not_there_yet_is_no_fault_and_is_not_made(here: Place) -> None:
    assert deployment.store(here.settings).state == State.OK
    assert deployment.keys(here.settings).state == State.FAULT, "nobody could ask"
    assert not (here.config.parent / "store.sqlite").exists()


def test_a_store_is_at_its_step_and_its_audit_is_followed(here: Place) -> None:
    make_key(here)
    found = deployment.store(here.settings)
    assert found.state == State.OK
    assert found.facts["audit"].startswith("1:")


def test_an_audit_that_somebody_changed_is_a_fault(here: Place) -> None:
    make_key(here)

    async def forge(db: Database) -> None:
        async with db.session() as connection:
            await connection.execute(text("UPDATE audit SET action = 'nothing'"))

    here.with_store(forge)
    assert deployment.store(here.settings).state == State.FAULT


def test_a_store_that_does_not_answer_raises_what_the_doctor_shows(tmp_path: Path) -> None:
    gone = place(tmp_path / "d", "postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(Exception, match="does not answer"):
        deployment.store(gone.settings)


@pytest.mark.parametrize(
    ("expires_in_s", "state"),
    [(None, State.OK), (90 * 86_400, State.OK), (86_400, State.WARNING), (-1, State.FAULT)],
)
def test_keys_that_end_are_told_of_in_time(
    here: Place, expires_in_s: float | None, state: State
) -> None:
    make_key(here, None if expires_in_s is None else time.time() + expires_in_s)
    assert deployment.keys(here.settings).state == state


def test_what_waits_and_what_was_set_aside_is_counted(here: Place) -> None:
    assert deployment.journals(here.settings).facts["waiting_bytes"] == 0
    journal = Journal(here.settings.journal.dir, "dead")
    journal.append(b"payload")
    journal.close()
    found = deployment.journals(here.settings)
    assert (found.state, found.facts["waiting_bytes"]) == (State.OK, 15)
    aside = here.settings.journal.dir / REJECTED
    aside.mkdir()
    (aside / "00000001.log").write_bytes(b"x")
    assert deployment.journals(here.settings).state == State.WARNING


def test_a_port_that_something_else_has_is_a_fault(here: Place) -> None:
    async def look() -> None:
        taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        http = here.settings.http.model_copy(update={"port": port})
        settings = here.settings.model_copy(update={"http": http})
        found = await asyncio.to_thread(deployment.server, settings)
        assert found.state == State.FAULT
        assert "the port is taken" in found.said
        taken.close()
        await taken.wait_closed()
        free = await asyncio.to_thread(deployment.server, settings)
        assert (free.state, free.facts) == (State.OK, {"running": False})

    asyncio.run(look())


def test_a_configuration_without_a_model_is_a_fault(here: Place) -> None:
    found = deployment.configuration(here.settings)
    assert found.state == State.FAULT
    assert "model" in found.said


def test_the_audit_is_only_read(here: Place) -> None:
    make_key(here)
    before = here.with_store(audit.head)
    deployment.store(here.settings)
    assert here.with_store(audit.head) == before

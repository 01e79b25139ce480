"""The store and the disk fail: requests are answered, nothing is lost, and the health page says so.

The server of one replica has a PostgreSQL of its own, which the tests crash, and its journal on a
small file system, which they fill.
"""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.e2e.server import START_S, Lone, Server
from tests.postgres import Postgres
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CONVERSATION = [{"role": "customer", "text": "Where is my order?"}]


@dataclass
class Site:
    """A server of one replica, what it stands on, and the version that is live."""

    server: Server
    postgres: Postgres
    journal: Path
    live: str

    def ask(self) -> str:
        body = {"lob": "care", "conversation": CONVERSATION, "max_tokens": 4}
        with self.server.http() as http:
            answer = http.post("/v1/suggestions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-switchboard-version"] == self.live
        return str(answer.json()["id"])

    def feedback(self, id_: str) -> httpx.Response:
        with self.server.http() as http:
            return http.post("/v1/feedback", json={"id": id_, "edit": "better"})

    def health(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.server.url}/health", timeout=60)
        assert answer.status_code == 200
        return dict(answer.json())

    def stored(self) -> list[str]:
        """The ids of all interactions, in the order in which they came to lie in the table."""
        with psycopg.connect(self.postgres.url) as connection:
            rows = connection.execute("SELECT id FROM interactions ORDER BY ctid").fetchall()
        return [id_ for (id_,) in rows]


@pytest.fixture(scope="module")
def site(lone: Lone, register: Callable[..., str]) -> Site:
    live = register(lone.server, "care")
    assert lone.server.cli("adapters", "promote", live).returncode == 0
    return Site(lone.server, lone.postgres, lone.journal, live)


def test_requests_are_answered_and_each_interaction_arrives_once_and_in_order(site: Site) -> None:
    before = site.ask()
    until(lambda: before in site.stored(), "an interaction does not reach the store")
    earlier = site.stored()
    assert site.feedback(before).status_code == 200
    site.postgres.crash()
    until(lambda: site.health()["store"]["state"] == "down", "the outage is not noticed")
    asked = [site.ask() for _ in range(12)]

    page = site.health()
    assert page["status"] == "degraded"
    assert page["store"]["since"].endswith("Z")
    assert page["capture"]["state"] == "spooling"
    assert page["capture"]["spooled_interactions"] == len(asked)
    assert page["capture"]["spooled_bytes"] > 1000
    ready = httpx.get(f"{site.server.url}/ready", timeout=60)
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    refused = site.feedback(asked[0])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    stranger = {"Authorization": f"Bearer sb-{'x' * 43}"}
    assert httpx.get(f"{site.server.url}/v1/models", headers=stranger).status_code == 503

    site.postgres.start()
    until(lambda: site.health()["status"] == "live", "the health page does not recover")
    until(lambda: site.health()["capture"]["spooled_interactions"] == 0, "some are not drained")
    assert [id_ for id_ in site.stored() if id_ not in earlier] == asked
    assert site.feedback(asked[0]).status_code == 200
    with psycopg.connect(site.postgres.url) as connection:
        edits = connection.execute(
            "SELECT edit FROM feedback WHERE interaction_id = %s", [asked[0]]
        ).fetchall()
    assert edits == [("better",)]


def test_a_full_disk_is_an_alarm_and_costs_no_answer(site: Site) -> None:
    if not os.path.ismount(site.journal):
        pytest.skip("this machine lets us mount no small file system (that needs root)")
    ballast = site.journal / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    asked = [site.ask() for _ in range(8)]  # the first may fit in what is left of a page
    page = site.health()
    assert (page["status"], page["capture"]["state"]) == ("degraded", "alarm")
    assert page["store"] == {"state": "up"}
    lost = page["capture"]["lost"]
    assert 0 < lost <= len(asked)
    with site.server.http("admin") as http:
        shown = http.get("/metrics").text
    assert re.search(rf'switchboard_capture_lost_total{{replica="[^"]+"}} {lost:.1f}\n', shown)

    ballast.unlink()
    after = site.ask()
    page = site.health()
    assert (page["status"], page["capture"]["lost"]) == ("live", lost)
    until(lambda: after in site.stored(), "nothing is captured after the disk has room again")
    assert len(set(asked) - set(site.stored())) == lost


def test_what_is_killed_while_the_store_is_down_comes_back_with_it(site: Site) -> None:
    site.postgres.crash()
    asked = [site.ask() for _ in range(4)]
    for process in site.server.tree():
        with contextlib.suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if title.startswith(("ray::ServeReplica", "ray::CoordinatorActor")):
                process.kill()
    until(lambda: not answers(site.server), "what is killed goes on")
    site.postgres.start()

    until(lambda: answers(site.server), "no replica comes back", limit_s=START_S)
    assert site.ask() not in asked
    until(lambda: set(asked) <= set(site.stored()), "the dead replica's journal is not drained")
    stored = site.stored()
    assert len(stored) == len(set(stored))
    back = site.server.cli("adapters", "rollback", "care")
    assert back.returncode == 0, back.stderr
    again = site.server.cli("adapters", "promote", site.live)
    assert again.returncode == 0, again.stderr


def answers(server: Server) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/ready", timeout=60).status_code == 200
    return False

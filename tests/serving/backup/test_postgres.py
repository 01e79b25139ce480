"""How PostgreSQL's programs are found and told where to go."""

import asyncio
from pathlib import Path

import pytest

from serving.backup import postgres as programs
from serving.errors import StoreUnavailable
from serving.store.connection import parse_url


def test_a_url_becomes_the_variables_of_libpq() -> None:
    url = parse_url("postgresql://me:a%40b@db.example:5433/sb?sslmode=verify-full&sslrootcert=/ca")
    assert programs.environment(url) == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGPASSWORD": "a@b",
        "PGDATABASE": "sb",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca",
    }


def test_a_socket_is_a_host() -> None:
    found = programs.environment(parse_url("postgresql://me@/sb?host=/run&port=1"))
    assert (found["PGHOST"], found["PGPORT"]) == ("/run", "1")


def test_a_failing_program_says_why(postgres: str, tmp_path: Path) -> None:
    url = parse_url(f"{postgres.rpartition('/')[0]}/nowhere")
    with pytest.raises(StoreUnavailable) as failed:
        asyncio.run(programs.dump(url, tmp_path / "x"))
    assert 'database "nowhere" does not exist' in str(failed.value)

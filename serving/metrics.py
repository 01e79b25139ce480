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
INFLIGHT = Gauge("switchboard_requests_in_flight", "Requests being answered now.")
CAPTURE_LOST = Counter(
    "switchboard_capture_lost_total", "Responses that could not be journalled (an alarm)."
)
JOURNAL_BACKLOG = Gauge(
    "switchboard_journal_backlog_bytes", "Captured bytes that are not in the store yet."
)
STORE_UP = Gauge("switchboard_store_up", "Whether the store answers this replica (1) or not (0).")
FEEDBACK = Counter("switchboard_feedback_total", "Feedback stored.", ["lob"])
ADAPTERS_LOADED = Gauge("switchboard_adapters_loaded", "Adapter versions loaded on this replica.")

"""The paths of the HTTP endpoints, spelled in one place."""

CHAT_COMPLETIONS = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
SUGGESTIONS = "/v1/suggestions"
SUMMARIES = "/v1/summaries"
INSIGHTS = "/v1/insights"
EMBEDDINGS = "/v1/embeddings"
RERANK = "/v1/rerank"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
REALTIME = "/v1/realtime"

FEEDBACK = "/v1/feedback"
EVENTS = "/v1/events"
INTERACTIONS = "/v1/interactions"
MODELS = "/v1/models"
FILES = "/v1/files"
BATCHES = "/v1/batches"
FINE_TUNING = "/v1/fine_tuning/jobs"
ADAPTERS = "/v1/adapters"
CONFIG = "/v1/config"
REVIEWS = "/v1/reviews"
FLYWHEEL = "/v1/flywheel"
QUALITY = "/v1/quality"
GRADES = "/v1/grades"
CONVERSATIONS = "/v1/conversations"
SUBJECTS = "/v1/subjects"

CONSOLE = "/console"
HEALTH = "/health"
READY = "/ready"
METRICS = "/metrics"

INFERENCE = (CHAT_COMPLETIONS, COMPLETIONS, RESPONSES, SUGGESTIONS, SUMMARIES, INSIGHTS)
"""What a model answers."""

UPLOADS = (FILES, TRANSCRIPTIONS)
"""What takes a form whose file is read as it comes."""

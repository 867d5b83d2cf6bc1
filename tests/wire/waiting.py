"""Transcripts that cannot be replayed yet, and the feature each waits for."""

WAITING = {
    "idempotent": "idempotent calls",
    "rate-limit": "rate limits",
    "stream-derived": "derived streams",
}

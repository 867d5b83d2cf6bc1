"""Transcripts that cannot be replayed yet, and the feature each waits for."""

WAITING = {
    "idempotent": "idempotent calls",
    "rate-limit": "rate limits",
    "room": "rooms",
    "stream-derived": "derived streams",
}

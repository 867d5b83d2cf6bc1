"""Transcripts that cannot be replayed yet, and the feature each waits for."""

WAITING = {
    "stream-derived": "derived streams",
}

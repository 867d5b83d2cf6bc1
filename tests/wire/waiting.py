"""Transcripts that cannot be replayed yet, and the feature each waits for."""

WAITING = {
    "idempotent": "idempotent calls",
    "pagination": "pages of a stream",
    "rate-limit": "rate limits",
    "reconnect-delta-diff": "delta streams",
    "reconnect-delta-unchanged": "delta streams",
    "reconnect-replay-after-live": "replay of missed events",
    "reconnect-schema": "schema versions of streams",
    "room": "rooms",
    "schema-migration": "schema versions of streams",
    "session-resume": "replay of missed events",
    "stream-derived": "derived streams",
    "stream-gated": "gated streams",
    "stream-resume-grace": "delta streams",
    "upload-cancel": "uploads",
    "upload-disconnect": "uploads",
}

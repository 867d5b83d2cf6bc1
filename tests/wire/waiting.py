"""Transcripts that cannot be replayed yet, and the feature each waits for."""

WAITING = {
    "idempotent": "idempotent calls",
    "notify": "requests from server to client",
    "pagination": "pages of a stream",
    "push-errors": "requests from server to client",
    "push-other-user": "requests from server to client",
    "rate-limit": "rate limits",
    "reconnect-delta-diff": "delta streams",
    "reconnect-delta-unchanged": "delta streams",
    "reconnect-replay-after-live": "replay of missed events",
    "reconnect-schema": "schema versions of streams",
    "room": "rooms",
    "schema-migration": "schema versions of streams",
    "session-resume": "resuming a session",
    "signal": "signals to a user",
    "stream-coalesced": "coalesced events",
    "stream-denied-by-hook": "the hook that decides on topics",
    "stream-derived": "derived streams",
    "stream-gated": "gated streams",
    "stream-resume-grace": "delta streams",
    "topic-denials": "the hook that decides on topics",
    "upload-cancel": "uploads",
    "upload-disconnect": "uploads",
}

# Connections of waiting transcripts whose own part needs nothing that is missing.
READY = {"signal": "raw#1", "topic-denials": "raw#1"}

"""The server side of the devtools: what is captured, redacted and told, and to whom."""

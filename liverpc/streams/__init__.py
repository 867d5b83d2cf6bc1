"""Streams on the server: from a subscribe request to live events and back."""

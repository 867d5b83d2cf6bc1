"""Uploads that run: their bytes between sockets and handlers, and how many there may be."""

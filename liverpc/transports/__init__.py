"""Transports: they move the messages of clients and know nothing of what these mean."""

"""Connections, topics and publishes of one process: who gets which frame."""

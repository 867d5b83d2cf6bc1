"""Devtools for liverpc servers: a terminal program and headless commands over the attach protocol."""

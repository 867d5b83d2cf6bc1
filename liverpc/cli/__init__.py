"""The ``liverpc`` command."""

"""Policies: each implements a port a lower layer declares, and can be tested alone."""

"""Integrations with other packages, each behind its extra."""

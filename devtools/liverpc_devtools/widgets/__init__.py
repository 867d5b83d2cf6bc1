"""Widgets and the look of things."""

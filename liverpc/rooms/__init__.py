"""Rooms and contracts: who is together, and what they hear of each other."""

"""From a decoded frame to an answered call."""

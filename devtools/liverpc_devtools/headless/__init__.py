"""The commands without a screen. What they share is in :mod:`.output`, each command in a module of its name."""

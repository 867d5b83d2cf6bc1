"""How the events of a stream change its value: pure folds, shared by clients and test tools."""

from __future__ import annotations

from liverpc.merge.fold import REFRESHED, Fold
from liverpc.merge.folds import make_fold

__all__ = ["REFRESHED", "Fold", "make_fold"]

"""How the events of a stream change its value: pure folds, shared by clients and test tools."""

from __future__ import annotations

from liverpc.merge.folds import Fold, make_fold

__all__ = ["Fold", "make_fold"]

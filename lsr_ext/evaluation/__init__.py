"""Scores of trained methods and of baselines on held-out blocks."""

from lsr_ext.evaluation.evaluate import evaluate

__all__ = ["evaluate"]

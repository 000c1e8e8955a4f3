"""The configuration of a run: its schema and its reading, without torch or lightning."""

from lsr_ext.config.loading import load_config
from lsr_ext.config.methods import METHODS, Method, MethodName
from lsr_ext.config.presets import PRESETS
from lsr_ext.config.run import EvaluationConfig, HeldOutSplit, LossConfig, RunConfig
from lsr_ext.config.terms import JointTerms, PixelTerm, Term
from lsr_ext.config.training import EXECUTION, NetworkConfig, OptimizerConfig, TrainingConfig, WeightsConfig

__all__ = [
    "EXECUTION",
    "METHODS",
    "PRESETS",
    "EvaluationConfig",
    "HeldOutSplit",
    "JointTerms",
    "LossConfig",
    "Method",
    "MethodName",
    "NetworkConfig",
    "OptimizerConfig",
    "PixelTerm",
    "RunConfig",
    "Term",
    "TrainingConfig",
    "WeightsConfig",
    "load_config",
]

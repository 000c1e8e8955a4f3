"""The paper's tables and ablations: every row by its method, over several seeds, with statistics and a figure."""

from lsr_ext.experiments.experiment import run_experiment
from lsr_ext.experiments.plan import Plan, Run, plan_runs
from lsr_ext.experiments.summary import Results, collect_results
from lsr_ext.experiments.tables import TABLES, Row, Table

__all__ = ["TABLES", "Plan", "Results", "Row", "Run", "Table", "collect_results", "plan_runs", "run_experiment"]

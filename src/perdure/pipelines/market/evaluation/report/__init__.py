"""The report of a run: one HTML file that needs nothing else."""

from perdure.pipelines.market.evaluation.report.document import report

__all__ = ["report"]

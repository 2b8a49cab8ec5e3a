"""Where units run: in processes of their own, whose crashes cost one unit and nothing else."""

from perdure.executors.process_pool import Call, Outcome, ProcessPool

__all__ = ["Call", "Outcome", "ProcessPool"]

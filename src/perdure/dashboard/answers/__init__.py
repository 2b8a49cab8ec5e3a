"""What the dashboard reads of runs, as the documents that its answers are."""

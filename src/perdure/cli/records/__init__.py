"""Commands about what a run has recorded: keep it, check it, read it."""

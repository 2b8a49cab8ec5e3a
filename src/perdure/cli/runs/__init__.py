"""Commands that start a run, follow it and end it."""

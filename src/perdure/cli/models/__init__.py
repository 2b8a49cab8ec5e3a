"""Commands that use what a pipeline has trained."""

"""Complete pipelines built on perdure's public surface only."""

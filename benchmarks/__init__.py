"""What perdure costs, side by side with other tools: `python -m benchmarks [save|epoch|data|boosting|commands]`."""

"""The market pipeline: forecasts of stocks, from prices and events to a gated, promoted ensemble."""

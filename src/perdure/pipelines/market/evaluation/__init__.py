"""How good the forecasts are, and why they say what they say."""

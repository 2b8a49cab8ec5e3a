"""The exoplanet pipeline: a CNN+LSTM that finds transiting planets in light curves."""

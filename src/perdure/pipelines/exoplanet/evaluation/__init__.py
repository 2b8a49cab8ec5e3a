"""Phase 7: metrics with intervals, calibration, baselines, and what the network looks at."""

"""A made market with a known, planted signal: seeded, the same everywhere, and as dirty as a real one."""

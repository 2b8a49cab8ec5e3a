"""The gate, the registry of models, and what is deployed."""

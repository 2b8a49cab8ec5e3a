"""The eight base models: how each is trained, saved within, and read back."""

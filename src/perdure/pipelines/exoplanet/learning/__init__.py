"""Phases 5 and 6: the network, what each epoch shows it, and the loop that trains it."""

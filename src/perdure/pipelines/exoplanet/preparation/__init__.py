"""Phases 3 and 4: split by star, prepare each curve, and look at curves as people do."""

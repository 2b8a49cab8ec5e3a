"""The report of a run, for any run: one HTML file, made from the database alone."""

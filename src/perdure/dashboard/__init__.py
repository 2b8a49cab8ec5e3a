"""The dashboard: a local web server that shows every run of a folder, live, from the runs' databases alone."""

"""A folder of the user's own files as a source of data."""

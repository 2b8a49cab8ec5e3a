"""From one symbol to its labelled samples."""

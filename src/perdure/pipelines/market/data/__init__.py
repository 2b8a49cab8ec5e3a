"""Where prices and events come from: providers behind one protocol, a cache, and quality checks."""

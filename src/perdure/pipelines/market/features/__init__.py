"""The 202 features of a symbol, none of which sees the future."""

"""Sources on the web: each knows its addresses and the shapes of its answers; `http` fetches for all of them."""

"""The hosts of an environment: which there are, how to reach each, and where things are on it."""

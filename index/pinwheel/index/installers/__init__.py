"""The configuration of pip, uv and the others that install from an index."""

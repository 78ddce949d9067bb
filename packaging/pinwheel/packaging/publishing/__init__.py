"""Archives and their statements on their way into the index."""

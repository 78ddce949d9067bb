"""Git repositories: how to get in, what they offer, and a commit laid out as a folder."""

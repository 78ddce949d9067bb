"""What an application needs to run: pinned by hashes, and brought into the index."""

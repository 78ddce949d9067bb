"""From a commit to a proven wheel in the index, and to the lock of an application."""

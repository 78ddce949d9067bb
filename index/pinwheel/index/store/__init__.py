"""What an index holds: records in a database, blobs in a folder, and the decisions that change both."""

"""The private package index: pypiserver as the engine, records and blobs beneath, a modern face in front."""

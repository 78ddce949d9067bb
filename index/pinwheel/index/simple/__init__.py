"""The Simple API: pages rendered from records, held in memory and kept as files."""

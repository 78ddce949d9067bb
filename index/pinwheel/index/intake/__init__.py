"""What comes in: bodies, uploads, imports, and how each is judged and published."""

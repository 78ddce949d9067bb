"""From a folder to archives: hermetic, normalised, the same bytes wherever they are built."""

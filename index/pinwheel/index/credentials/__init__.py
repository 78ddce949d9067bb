"""Who asks: tokens, passwords, and how often a wrong one may be tried."""

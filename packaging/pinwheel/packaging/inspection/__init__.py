"""What may be published: rules over what a commit, a wheel and an sdist hold, and one report of all findings."""

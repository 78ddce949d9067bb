"""What is there, what is wished, and the steps between the two. Values and pure functions."""

"""Draws pictures and trains the built-in toy encoder `tiny` on them."""

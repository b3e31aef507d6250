"""Draws what `moderato doctor` tries its installation on; not part of the package."""

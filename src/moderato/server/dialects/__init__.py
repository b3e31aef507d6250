"""Wire formats of others, one file each: their clients change one URL."""

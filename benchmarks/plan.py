"""What is measured, and how often: a benchmark is the module of its name, with `measure(checkpoint, rounds)`."""

from __future__ import annotations

ROUNDS = {
    "start": {"vit-b-32": 12},
    "decode": {"vit-b-32": 12},
    "encode": {"vit-b-32": 6, "vit-l-14": 2},
    "profile": {"vit-b-32": 15},
    "path": {"vit-b-32": 5, "vit-l-14": 2},
    "bulk": {"vit-b-32": 3},
    "again": {"vit-b-32": 12},
    "heads": {"vit-b-32": 8},
    "serve": {"vit-b-32": 12},
    "processes": {"vit-b-32": 8},
    "memory": {"vit-b-32": 1},
}
"""How often each side is timed, by benchmark and by the size of the weights; the order in which they run."""
QUICK = 3
"""Rounds of a quick look, with the small weights alone."""

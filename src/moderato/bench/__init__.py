"""How encoders run best on this machine: every runtime in every precision, and which of them may be trusted.

`pictures` reads a folder into views, `worker` runs an encoder in a process of its own, `measure` times each way of
running it in turns with the exact one, `gate` says whether verdicts stay what they were, `record` keeps what came out
and makes the choice that the settings `runtime = auto` and `precision = auto` stand for.
"""

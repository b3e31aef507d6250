"""Our own routes, one file for each kind of question."""

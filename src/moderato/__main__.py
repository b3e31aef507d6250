"""`python -m moderato`."""

from moderato.cli import main

main()

"""`python -m maillage.interfaces.cli`: the command without its installed script."""

from maillage.interfaces.cli import main

main()

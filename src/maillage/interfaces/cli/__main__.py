"""`python -m maillage.interfaces.cli`: the command without its installed script."""

from maillage.interfaces.entry import main

main()

"""The local engine: real process trees on this machine, each owned by a supervisor of its own."""

"""The compiled kernel: `fold` functions change the state, `decide` says what to do."""

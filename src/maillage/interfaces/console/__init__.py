"""The console: one read-only page, drawn here, with one stream behind it."""

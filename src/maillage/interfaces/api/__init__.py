"""The HTTP API: thin routes that check what came in, authorise, and call the service."""

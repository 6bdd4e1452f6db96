"""The inference edge: replicas that serve a model, and the OpenAI-compatible gateway before them."""

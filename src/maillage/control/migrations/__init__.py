"""The schema's versions, run by themselves when a store is opened."""

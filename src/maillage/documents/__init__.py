"""Text from people -> values -> models: every problem at once, each with its source and line."""

from maillage.documents.fit import Finding, Findings, did_you_mean, fit, json_schema, require
from maillage.documents.text import Document, Path, path_text, read

__all__ = [
    "Document",
    "Finding",
    "Findings",
    "Path",
    "did_you_mean",
    "fit",
    "json_schema",
    "path_text",
    "read",
    "require",
]

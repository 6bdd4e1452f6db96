"""`python -m maillage.interfaces.api > docs/openapi.json`: the document that the repository keeps."""

from maillage.interfaces.api.document import openapi_text

print(openapi_text(), end="")  # noqa: T201

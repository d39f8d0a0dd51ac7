"""Where a server is looked for."""

from typing import Final

DEFAULT_URL: Final = "http://localhost:8011"
"""Unless ``PLANSTORE_URL`` says otherwise."""

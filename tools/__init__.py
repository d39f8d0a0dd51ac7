"""What the project's developers run; no part of the package."""

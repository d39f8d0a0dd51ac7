"""``python -m planstore`` is ``planstore``."""

from planstore.cli import main

if __name__ == "__main__":
    main()

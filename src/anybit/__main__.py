"""``python -m anybit`` is ``anybit``."""

from anybit.cli.app import main

main()

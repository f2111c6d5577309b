"""``python -m mobilenets`` is the command ``mobilenets``."""

from mobilenets.cli import main

raise SystemExit(main())

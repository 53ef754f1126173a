"""``python -m segcrf.cli``: the command ``segcrf``."""

from segcrf.cli.main import main

raise SystemExit(main())

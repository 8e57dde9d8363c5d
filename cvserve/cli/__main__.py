"""`python -m cvserve.cli`, where the console script is not on the path."""

from cvserve.cli.main import main

raise SystemExit(main())

"""``python -m oms_ops`` is the console script ``oms``."""

from oms_ops.cli import main

main()

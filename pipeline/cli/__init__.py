"""The program ``sa2va-i``: one module per verb, listed in :mod:`pipeline.cli.verbs`."""

"""The command line: one thin module for each command, which is imported only when that command runs."""

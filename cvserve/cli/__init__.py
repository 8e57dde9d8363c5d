"""The command line: one thin module a command, imported only when it is the one that was typed."""

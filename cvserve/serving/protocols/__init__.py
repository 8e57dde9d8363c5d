"""The protocols that the server speaks, one folder each; no protocol imports another one."""

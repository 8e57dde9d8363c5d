"""The gRPC port: the services of the protocols, health and reflection.

`listening` opens the port, `services` adds services to it, `calls` wraps their methods.
"""

"""The gRPC port: the services of the protocols, health and reflection.

`listening` opens the port, `services` puts services on it, `calls` surrounds their methods.
"""

"""The gRPC edge: one port with TensorFlow Serving's services, cvserve.v1, health and reflection.

Importing this package is cheap; `server` imports the services when it starts, and TensorFlow when a model needs it.
"""

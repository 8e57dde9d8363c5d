"""The gRPC edge: one port with TensorFlow Serving's services, cvserve.v1, health and reflection.

Importing this package is cheap; `server` imports TensorFlow Serving's messages, and with them TensorFlow, when it
starts.
"""

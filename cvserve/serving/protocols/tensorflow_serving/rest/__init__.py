"""The REST API of TensorFlow Serving."""

"""TensorFlow Serving: its gRPC services, its REST API, its warm-up records, metric names, flags and config files."""

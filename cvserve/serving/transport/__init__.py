"""The parts that all protocols share: ports, calls, deadlines, request ids, errors, health and reflection."""

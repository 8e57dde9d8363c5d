"""The server without any protocol: models, their versions, batching, decoding, deadlines.

Everything here is called from one event loop; native work happens on worker threads, which report back through a
`LoopCallbacks`. `grpc/` (and later `http/`) convert a protocol's messages to calls of `Engine` and back.
"""

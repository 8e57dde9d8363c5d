"""The server without any protocol: models, their versions, batching, decoding, deadlines.

Everything here is called from one event loop. Native work happens on worker threads, which report back through
`LoopCallbacks`. The protocols convert their messages to calls of `Engine`, and its answers back to messages.
"""

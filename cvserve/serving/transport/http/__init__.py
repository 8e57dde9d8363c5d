"""The HTTP port: TensorFlow Serving's REST API, Prometheus, `/healthz` and `/readyz`, on aiohttp.

`listening` has the port, `server` answers on it; `paths` says what a request asks, `bodies` reads it, `documents`,
`arrays`, `tensors` and `examples` make inputs of its JSON, `rest` asks the engine, `writing` makes JSON of the answer.
"""

"""The HTTP port, on aiohttp: the routes of the protocols, Prometheus, `/healthz` and `/readyz`.

`listening` opens the port, `server` answers on it, `bodies` reads the bodies of requests.
"""

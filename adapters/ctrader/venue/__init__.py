"""A cTrader server to trade against: the broker's protocol on top of `adapters.exchange`.

    core      the server without I/O: envelopes in, envelopes out
    faults    what goes wrong between the server and its clients, on a script or a seed
    endpoint  core, framing and faults together: bytes in, bytes out, still without I/O
    server    TLS and HTTP around an endpoint

It follows the protocol reference and no client. Market time is that of the quotes it is given; connection time (limits,
heartbeats, delays) is the caller's clock.
"""

"""Teaches schemathesis the one type of body that it does not know: lines of JSON, which are text to it."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    return value.encode(errors="surrogatepass") if isinstance(value, str) else repr(value).encode()

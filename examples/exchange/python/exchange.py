"""A service that acts for its callers: it exchanges the receipt of each request for a token of its own (RFC 8693).

    exchange.py PORT TOKEN_URL CA CERT KEY CLIENT_ID AUDIENCE SCOPE

PORT is where its proxy reaches it on this machine. TOKEN_URL is Lanyard's token endpoint, the next three are PEM files, CLIENT_ID is this
service's own, AUDIENCE and SCOPE are what it needs of the next service. Needs Python alone.
"""

import http.server
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

PORT, TOKEN_URL, CA, CERT, KEY, CLIENT_ID, AUDIENCE, SCOPE = sys.argv[1:]


def exchange(receipt):
    """A token that speaks for the caller, or the error of RFC 6749 section 5.2."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "client_id": CLIENT_ID,
        "subject_token": receipt,
        "subject_token_type": "urn:lanyard:params:oauth:token-type:presentation-receipt",
        "resource": AUDIENCE,
        "scope": SCOPE,
    }
    # Read for each exchange, since the certificate is renewed. The token is bound to it.
    context = ssl.create_default_context(cafile=CA)
    context.load_cert_chain(CERT, KEY)
    request = urllib.request.Request(TOKEN_URL, urllib.parse.urlencode(form).encode())
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # The proxy in front writes this header, and takes out what a client sent under that name.
        receipt = self.headers.get("x-lanyard-receipt")
        if receipt is None:
            return self.answer(403, {"error": "no receipt"})
        token = exchange(receipt)
        if "access_token" not in token:
            return self.answer(403, {"error": token["error"]})
        # Here it calls the next service, with this certificate and `Authorization: Bearer`, and forgets the token: it is
        # for this caller alone.
        return self.answer(200, {"scope": token["scope"]})

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Service)
print("listening", flush=True)
server.serve_forever()

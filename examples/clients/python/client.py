"""Gets a token over mutual TLS, and uses it.

    client.py SERVER CA CERT KEY AUDIENCE

SERVER is host:port of Lanyard's mTLS listener, the next three are PEM files, AUDIENCE is the token's audience. Prints the
decision on a use of the token over the connection that it was issued on, as JSON.

Needs grpcio, and the modules that grpcio-tools generates from the protos:

    python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. lanyard/v1/token.proto lanyard/v1/binding.proto
"""

import json
import pathlib
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from lanyard.v1 import binding_pb2, binding_pb2_grpc, token_pb2, token_pb2_grpc


def main(server, ca, cert, key, audience):
    def read(path):
        return pathlib.Path(path).read_bytes()

    # The token is bound to this certificate: it is used over connections with the same one. When the files change, make a
    # new channel and get a new token.
    credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
    with grpc.secure_channel(server, credentials) as channel:
        # A caller with an X509-SVID may leave out client_id; others must send it. Get the next token at two thirds of this
        # one's life.
        tokens = token_pb2_grpc.TokenServiceStub(channel)
        issued = tokens.IssueToken(token_pb2.IssueTokenRequest(audience=[audience]), timeout=10)

        # Calls of a protected resource carry the token:
        #     orders.ListOrders(request, metadata=[("authorization", f"Bearer {issued.access_token}")])
        # The proxy in front of that resource asks Lanyard about the caller's connection; here the client asks about its own.
        bindings = binding_pb2_grpc.BindingServiceStub(channel)
        use = binding_pb2.ValidateBindingRequest(
            access_token=issued.access_token, audience=audience, own_connection=True
        )
        verdict = MessageToDict(bindings.ValidateBinding(use, timeout=10))
    print(json.dumps({"scope": issued.scope, "decision": verdict["decision"], "match": verdict["match"]}))


main(*sys.argv[1:])

"""A Lanyard client that is made from nothing but the server's reflection: no generated code, no copy of the protos.

    python_client.py SERVER DIR

SERVER is host:port of the mTLS listener. DIR holds what `lanyard dev` makes, and mine.pem with mine-key.pem: a self-signed
certificate that nobody knows yet. Registers it, gets a token with it, and has the token evaluated, by this project's service and
by Envoy's. Prints what came out as JSON.
Needs grpcio, grpcio-reflection and protobuf.
"""

import json
import pathlib
import ssl
import sys
import urllib.parse

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

AUDIENCE = "https://orders.dev.internal"


class Caller:
    """One who calls: a channel with a client certificate, and the services that the server says it has."""

    def __init__(self, server, directory, name):
        def read(file):
            return (directory / file).read_bytes()

        credentials = grpc.ssl_channel_credentials(read("ca.pem"), read(f"{name}-key.pem"), read(f"{name}.pem"))
        self.channel = grpc.secure_channel(server, credentials)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def call(self, method, **fields):
        """Calls a unary method, such as lanyard.v1.TokenService/IssueToken."""
        service, name = method.split("/")
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(name)
        request = GetMessageClass(descriptor.input_type)(**fields)
        answer = GetMessageClass(descriptor.output_type)
        invoke = self.channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        return MessageToDict(invoke(request, timeout=30), preserving_proto_field_name=True)


def main(server, directory):
    directory = pathlib.Path(directory)
    admin, proxy = Caller(server, directory, "admin"), Caller(server, directory, "proxy")
    certificate = (directory / "mine.pem").read_text()

    registered = admin.call(
        "lanyard.v1.RegistryService/CreateClient",
        client={
            "client_id": "mine",
            "token_endpoint_auth_method": "self_signed_tls_client_auth",
            "certificate_pem": certificate,
            "scope": "orders.read",
            "audience": [AUDIENCE],
            "access_token_ttl": {"seconds": 60},
        },
    )
    # Connected only now: before, nobody would have let this certificate in.
    mine = Caller(server, directory, "mine")
    issued = mine.call("lanyard.v1.TokenService/IssueToken", client_id="mine")

    def evaluate(evidence):
        return proxy.call(
            "lanyard.v1.BindingService/ValidateBinding",
            access_token=issued["access_token"],
            certificate=ssl.PEM_cert_to_DER_cert(evidence),
            audience=AUDIENCE,
            scope="orders.read",
        )

    def checked(evidence):
        return proxy.call(
            "envoy.service.auth.v3.Authorization/Check",
            attributes={
                "source": {"certificate": urllib.parse.quote(evidence, safe="")},
                "request": {
                    "http": {
                        "method": "GET",
                        "path": "/orders/1",
                        "headers": {"authorization": f"Bearer {issued['access_token']}"},
                    }
                },
                "context_extensions": {"resource": AUDIENCE},
            },
        )

    try:
        mine.call("lanyard.v1.RegistryService/GetClient", client_id="mine")
        refusal = None
    except grpc.RpcError as error:
        refusal = error.code().name

    print(
        json.dumps(
            {
                "services": sorted(admin.database.get_services()),
                "registered": registered,
                "issued": issued,
                "own": evaluate(certificate),
                "thief": evaluate((directory / "thief.pem").read_text()),
                "checked": checked(certificate),
                "checked_thief": checked((directory / "thief.pem").read_text()),
                "refusal": refusal,
            }
        )
    )


main(*sys.argv[1:])

"""A client of ExchangeToken by Python's gRPC, with what reflection says and no generated code.

    exchange_reflection.py HOST:PORT DIR CLIENT_ID RESOURCE TOKEN PRESENTED_AT TRUST_DOMAIN

DIR holds ca.pem, and the certificates and keys of frontend, checkout and proxy. TOKEN is the frontend's, presented at PRESENTED_AT.
Prints what came out as JSON. Needs grpcio, grpcio-reflection and protobuf.
"""

import base64
import json
import pathlib
import ssl
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class Caller:
    """One who calls: a channel with a client certificate, and messages made of the descriptors that the server has."""

    def __init__(self, server, directory, name):
        def read(file):
            return (directory / file).read_bytes()

        credentials = grpc.ssl_channel_credentials(read("ca.pem"), read(f"{name}-key.pem"), read(f"{name}.pem"))
        self.channel = grpc.secure_channel(server, credentials)
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def call(self, method, fields):
        """Calls a unary method with the fields as JSON has them."""
        service, name = method.split("/")
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(name)
        request = ParseDict(fields, GetMessageClass(descriptor.input_type)(), descriptor_pool=self.pool)
        answer = GetMessageClass(descriptor.output_type)
        invoke = self.channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        return MessageToDict(invoke(request, timeout=30), preserving_proto_field_name=True, descriptor_pool=self.pool)


def main(server, directory, client_id, resource, token, presented_at, trust_domain):
    directory = pathlib.Path(directory)
    frontend, checkout, proxy = (Caller(server, directory, name) for name in ("frontend", "checkout", "proxy"))
    certificate = (directory / "frontend.pem").read_text()
    shown = base64.b64encode(ssl.PEM_cert_to_DER_cert(certificate)).decode()
    question = {"access_token": token, "certificate": shown, "audience": presented_at, "receipt": True}
    receipt = proxy.call("lanyard.v1.BindingService/ValidateBinding", question)["receipt"]

    def exchanged(caller=checkout, **changed):
        fields = {"receipt": receipt, "audience": [resource], "scope": "orders.read", **changed}
        fields = {name: value for name, value in fields.items() if value is not None}
        return caller.call("lanyard.v1.TokenService/ExchangeToken", fields)

    def refusal(**changed):
        try:
            return exchanged(**changed)
        except grpc.RpcError as error:
            return [error.code().name, error.details()]

    # The well-known type Struct comes by reflection too.
    own = {"receipt": None, "unsigned_json": {"sub": client_id}, "requested": "TOKEN_TYPE_TXN_TOKEN", "audience": [trust_domain]}
    own = {**own, "scope": "nightly.settle", "request_details": {"batch": "17"}}
    print(
        json.dumps(
            {
                "exchanged": exchanged(),
                "with_token": exchanged(receipt=None, access_token=token, presentation_receipt=receipt),
                "transaction": exchanged(**own),
                "token_alone": refusal(receipt=None, access_token=token),
                "thief": refusal(caller=frontend),
                "scope": refusal(scope="orders.delete"),
                "target": refusal(audience=["https://stock.example"]),
                "subject": refusal(receipt=f"{receipt}x"),
                "details": refusal(**{**own, "request_details": {"other": "17"}}),
            }
        )
    )


main(*sys.argv[1:])

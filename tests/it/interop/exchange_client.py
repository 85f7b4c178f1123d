"""A client of token exchange by Authlib, which knows nothing of Lanyard.

    exchange_client.py ISSUER CLIENT_ID NAME SUBJECT TYPE RESOURCE DIR

ISSUER is the public listener. DIR holds ca.pem, and NAME.pem with NAME-key.pem for the client. SUBJECT is exchanged as TYPE for
RESOURCE. Prints what came out as JSON. Needs authlib and requests.
"""

import json
import pathlib
import sys

import requests
from authlib.common.urls import add_params_to_qs
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"


def tls_client_auth(client, method, uri, headers, body):
    """RFC 8705 section 2: the certificate authenticates, and client_id says whose it is."""
    return uri, headers, add_params_to_qs(body or "", [("client_id", client.client_id)])


def main(issuer, client_id, name, subject, kind, resource, directory):
    directory = pathlib.Path(directory)
    ca = str(directory / "ca.pem")
    metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", verify=ca, timeout=30).json()
    assert GRANT in metadata["grant_types_supported"]
    endpoint = metadata["mtls_endpoint_aliases"]["token_endpoint"]
    session = OAuth2Session(client_id, token_endpoint_auth_method="tls_client_auth")
    session.register_client_auth_method(("tls_client_auth", tls_client_auth))
    # Else a CA bundle that the environment names would count for more than ours.
    session.trust_env = False
    session.verify, session.cert = ca, (str(directory / f"{name}.pem"), str(directory / f"{name}-key.pem"))

    def exchanged(**changed):
        parameters = {"subject_token": subject, "subject_token_type": kind, "resource": resource, "scope": "orders.read"}
        return dict(session.fetch_token(endpoint, grant_type=GRANT, **{**parameters, **changed}))

    def refusal(**changed):
        try:
            return exchanged(**changed)
        except OAuthError as error:
            return error.error

    reported = {
        "exchanged": exchanged(),
        "scope": refusal(scope="orders.delete"),
        "target": refusal(resource="https://stock.example"),
        "subject": refusal(subject_token=f"{subject}x"),
    }
    print(json.dumps(reported))


main(*sys.argv[1:])

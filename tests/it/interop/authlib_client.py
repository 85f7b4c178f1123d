"""A client of OAuth with mutual TLS by Authlib, which knows nothing of Lanyard.

    authlib_client.py ISSUER RESOURCE DIR

ISSUER is the public listener, RESOURCE the client_id of a protected resource, with which it introspects. DIR holds ca.pem,
and NAME.pem with NAME-key.pem for each client: pki, selfsigned and resource. Prints what came out as JSON.
Needs authlib and requests.
"""

import json
import pathlib
import sys

import requests
from authlib.common.urls import add_params_to_qs
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session


def tls_client_auth(client, method, uri, headers, body):
    """RFC 8705 section 2: the certificate authenticates, and client_id says whose it is."""
    return uri, headers, add_params_to_qs(body or "", [("client_id", client.client_id)])


def main(issuer, resource, directory):
    directory = pathlib.Path(directory)
    ca = str(directory / "ca.pem")
    metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", verify=ca, timeout=30).json()
    # RFC 8705 section 5: a client that does mutual TLS takes the aliases where there are any.
    endpoints = {**metadata, **metadata["mtls_endpoint_aliases"]}

    def client(name, client_id):
        session = OAuth2Session(client_id, token_endpoint_auth_method="tls_client_auth")
        session.register_client_auth_method(("tls_client_auth", tls_client_auth))
        # Else a CA bundle that the environment names would count for more than ours.
        session.trust_env = False
        session.verify, session.cert = ca, (str(directory / f"{name}.pem"), str(directory / f"{name}-key.pem"))
        return session

    def token(session, **more):
        return dict(session.fetch_token(endpoints["token_endpoint"], grant_type="client_credentials", **more))

    def introspected(session, issued):
        answer = session.introspect_token(endpoints["introspection_endpoint"], token=issued["access_token"])
        return answer.json()

    def revoked(session, issued):
        answer = session.revoke_token(endpoints["revocation_endpoint"], token=issued["access_token"])
        return answer.status_code

    def refusal(call):
        try:
            return call()
        except OAuthError as error:
            return error.error

    pki, selfsigned, watcher = client("pki", "pki"), client("selfsigned", "selfsigned"), client("resource", resource)
    by_pki, by_self = token(pki, scope="orders.read"), token(selfsigned)
    reported = {
        "by_pki": by_pki,
        "by_self": by_self,
        "before": introspected(watcher, by_pki),
        "by_stranger": introspected(selfsigned, by_pki),
        "foreign": revoked(selfsigned, by_pki),
        "still": introspected(watcher, by_pki),
        "revoked": revoked(pki, by_pki),
        "after": introspected(watcher, by_pki),
        "of_self": introspected(watcher, by_self),
        "scope": refusal(lambda: token(client("pki", "pki"), scope="orders.delete")),
        "other": refusal(lambda: token(client("pki", "selfsigned"))),
    }
    print(json.dumps(reported))


main(*sys.argv[1:])

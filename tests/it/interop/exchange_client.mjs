// A client of token exchange by npm's openid-client and by oauth4webapi, which know nothing of Lanyard.
//
//     exchange_client.mjs ISSUER CLIENT_ID NAME SUBJECT TYPE RESOURCE
//
// ISSUER is the public listener. NAME.pem with NAME-key.pem is the client's certificate, and ca.pem the server's CA, in the
// folder that it runs in. SUBJECT is exchanged as TYPE for RESOURCE. Prints what came out as JSON.

import { readFileSync } from 'node:fs';
import * as webapi from 'oauth4webapi';
import * as oauth from 'openid-client';
import { Agent, fetch } from 'undici';

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const [issuer, clientId, name, subject, type, resource] = process.argv.slice(2);
const ca = readFileSync('ca.pem');

/** What fetches with the client's certificate, or with none. */
function fetcher(mine) {
  const identity = mine ? { cert: readFileSync(`${name}.pem`), key: readFileSync(`${name}-key.pem`) } : {};
  const dispatcher = new Agent({ connect: { ca, ...identity } });
  return (url, options) => fetch(url, { ...options, dispatcher });
}

const parameters = { subject_token: subject, subject_token_type: type, resource, scope: 'orders.read' };

async function byOpenidClient(more) {
  const options = { algorithm: 'oauth2', [oauth.customFetch]: fetcher(false) };
  const metadata = { use_mtls_endpoint_aliases: true };
  const config = await oauth.discovery(new URL(issuer), clientId, metadata, oauth.TlsClientAuth(), options);
  config[oauth.customFetch] = fetcher(true);
  return { ...(await oauth.genericGrantRequest(config, GRANT, { ...parameters, ...more })) };
}

async function byOauth4webapi() {
  const found = await webapi.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', [webapi.customFetch]: fetcher(false) });
  const server = await webapi.processDiscoveryResponse(new URL(issuer), found);
  const client = { client_id: clientId, use_mtls_endpoint_aliases: true };
  const options = { [webapi.customFetch]: fetcher(true) };
  const answer = await webapi.genericTokenEndpointRequest(server, client, webapi.TlsClientAuth(), GRANT, parameters, options);
  return { ...(await webapi.processGenericTokenEndpointResponse(server, client, answer)) };
}

/** The error code that a call is refused with. */
async function refusal(call) {
  try {
    await call;
    return null;
  } catch (error) {
    return error.error ?? error.cause?.error ?? String(error);
  }
}

console.log(
  JSON.stringify({
    openid: await byOpenidClient({}),
    webapi: await byOauth4webapi(),
    scope: await refusal(byOpenidClient({ scope: 'orders.delete' })),
    target: await refusal(byOpenidClient({ resource: 'https://stock.example' })),
    subject: await refusal(byOpenidClient({ subject_token: `${subject}x` })),
  }),
);

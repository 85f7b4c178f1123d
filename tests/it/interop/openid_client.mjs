// A client of OAuth with mutual TLS by npm's openid-client, which knows nothing of Lanyard.
//
//     openid_client.mjs ISSUER RESOURCE REGISTRANT
//
// ISSUER is the public listener. RESOURCE is the client_id of a protected resource, with which it introspects; REGISTRANT is
// a SPIFFE ID that registers itself. The folder that it runs in holds ca.pem, and NAME.pem with NAME-key.pem for each client:
// pki, selfsigned, resource, registrant and admin. Prints what came out as JSON.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as oauth from 'openid-client';
import { Agent, fetch } from 'undici';

const [issuer, resource, registrant] = process.argv.slice(2);
const ca = readFileSync('ca.pem');

/** What fetches with a client's certificate, or with none. It notes which URLs are asked. */
function fetcher(name, asked = []) {
  const mine = name ? { cert: readFileSync(`${name}.pem`), key: readFileSync(`${name}-key.pem`) } : {};
  const dispatcher = new Agent({ connect: { ca, ...mine } });
  return (url, options) => {
    asked.push(url);
    return fetch(url, { ...options, dispatcher });
  };
}

/** Finds the server at its public listener, without a certificate; everything after that shows the client's. */
async function client(name, clientId, asked, aliases = true) {
  const metadata = { use_mtls_endpoint_aliases: aliases };
  const options = { algorithm: 'oauth2', [oauth.customFetch]: fetcher(null) };
  const found = await oauth.discovery(new URL(issuer), clientId, metadata, oauth.TlsClientAuth(), options);
  found[oauth.customFetch] = fetcher(name, asked);
  return found;
}

/** The error code that a call is refused with. */
async function refusal(call) {
  try {
    await call;
    return null;
  } catch (error) {
    // A 401 with a challenge (RFC 9110 section 15.5.2), whose body the library leaves unread.
    const challenged = error.code === 'OAUTH_WWW_AUTHENTICATE_CHALLENGE' && error.response.bodyUsed === false;
    if (challenged) return (await error.response.json()).error;
    return error.error ?? error.cause?.error ?? String(error);
  }
}

const asked = [];
const pki = await client('pki', 'pki', asked);
const server = pki.serverMetadata();
const selfsigned = await client('selfsigned', 'selfsigned');
const watcher = await client('resource', resource);
const grant = (config, more) => oauth.clientCredentialsGrant(config, { resource, ...more });
const introspected = async (config, token) => await oauth.tokenIntrospection(config, token);

const byPki = await grant(pki, { scope: 'orders.read' });
const bySelf = await grant(selfsigned);
const unaware = await grant(await client('selfsigned', 'selfsigned', [], false));
const before = await introspected(watcher, byPki.access_token);
const ofSelf = await introspected(watcher, bySelf.access_token);
const byStranger = await introspected(selfsigned, byPki.access_token);
const foreign = await refusal(oauth.tokenRevocation(selfsigned, byPki.access_token));
await oauth.tokenRevocation(pki, byPki.access_token);
const after = await introspected(watcher, byPki.access_token);
const untouched = await introspected(watcher, bySelf.access_token);
await oauth.tokenRevocation(pki, 'never-good');

/** Registers with the certificate of `name`, and gets a token as what was registered, with the certificate of `then`. */
async function register(name, metadata, then) {
  const options = { algorithm: 'oauth2', [oauth.customFetch]: fetcher(name) };
  const wanted = { ...metadata, grant_types: ['client_credentials'], use_mtls_endpoint_aliases: true };
  const made = await oauth.dynamicClientRegistration(new URL(issuer), wanted, oauth.TlsClientAuth(), options);
  const registered = made.clientMetadata();
  if (!then) return { registered };
  // What was registered does not say that this client wants the aliases.
  const config = await client(then, registered.client_id);
  return { registered, token: await oauth.clientCredentialsGrant(config, {}) };
}

const bySubject = {
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_san_dns: 'late.example',
  scope: 'orders.read',
  audience: [resource],
};
const itself = { token_endpoint_auth_method: 'spiffe_x509', spiffe_id: registrant, scope: 'orders.read' };
const byAdmin = await register('admin', bySubject, 'late');
const byItself = await register('registrant', itself, 'registrant');
const beyond = await refusal(register('registrant', { ...itself, scope: 'orders.delete' }));
const outsider = await refusal(register('pki', bySubject));

const x5tS256 = (name) =>
  Buffer.from(new X509Certificate(readFileSync(`${name}.pem`)).fingerprint256.replaceAll(':', ''), 'hex').toString('base64url');

console.log(
  JSON.stringify({
    thumbprints: Object.fromEntries(['pki', 'selfsigned', 'late', 'registrant'].map((name) => [name, x5tS256(name)])),
    alias: server.mtls_endpoint_aliases.token_endpoint,
    asked: asked.map(String),
    byPki,
    bySelf,
    unaware,
    before,
    ofSelf,
    byStranger,
    foreign,
    after,
    untouched,
    byAdmin,
    byItself,
    beyond,
    outsider,
    refused: {
      scope: await refusal(grant(pki, { scope: 'orders.delete' })),
      target: await refusal(oauth.clientCredentialsGrant(pki, { resource: 'https://stock.example' })),
      other: await refusal(grant(await client('pki', 'selfsigned'))),
    },
  }),
);

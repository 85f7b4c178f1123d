// A resource server that verifies tokens by itself, with npm's jose and the JWK Set of the public listener: no call to the
// authorization server but for its keys, and no library of Lanyard's.
//
//     NODE_EXTRA_CA_CERTS=ca.pem resource_server.mjs ISSUER RESOURCE TOKENS
//
// It serves HTTPS with server.pem, then asks itself with the certificates that are in this folder. TOKENS is JSON: for each
// certificate's NAME the token that its owner got. Prints which status each pair of certificate and token got, as JSON.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { Agent, request } from 'undici';

const [issuer, resource, given] = process.argv.slice(2);

// The whole of a resource server (RFC 8705 section 3): the token is verified, and the certificate of the very connection
// that it came on is the one that it is bound to.
const keys = createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`));

async function evaluate(request) {
  const token = request.headers.authorization?.match(/^Bearer (\S+)$/)?.[1];
  const certificate = request.socket.getPeerCertificate().raw;
  if (!token || !certificate) return 401;
  try {
    const { payload } = await jwtVerify(token, keys, { issuer, audience: resource, typ: 'at+jwt', algorithms: ['ES256'] });
    const thumbprint = createHash('sha256').update(certificate).digest('base64url');
    return payload.cnf?.['x5t#S256'] === thumbprint ? 200 : 401;
  } catch {
    return 401;
  }
}

// Whoever's certificate it is: what counts is that it is the token's.
const tls = { cert: readFileSync('server.pem'), key: readFileSync('server-key.pem'), requestCert: true, rejectUnauthorized: false };
const server = createServer(tls, async (request, response) => {
  response.writeHead(await evaluate(request)).end();
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));

async function ask(name, token) {
  const mine = name ? { cert: readFileSync(`${name}.pem`), key: readFileSync(`${name}-key.pem`) } : {};
  const dispatcher = new Agent({ connect: { ca: readFileSync('ca.pem'), ...mine } });
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const { statusCode, body } = await request(`https://localhost:${server.address().port}/`, { dispatcher, headers });
  await body.dump();
  await dispatcher.close();
  return statusCode;
}

/** Another signature than the token's: its first character changed, all of whose bits count. */
function forged(token) {
  const [header, payload, signature] = token.split('.');
  return [header, payload, (signature[0] === 'A' ? 'B' : 'A') + signature.slice(1)].join('.');
}

const tokens = JSON.parse(given);
const reported = {};
for (const [owner, token] of Object.entries(tokens)) {
  reported[owner] = { none: await ask(null, token), forged: await ask(owner, forged(token)), bare: await ask(owner, null) };
  for (const name of Object.keys(tokens)) reported[owner][name] = await ask(name, token);
}
console.log(JSON.stringify(reported));
server.close();

// A real OpenID provider for the real-peer tests: npm's oidc-provider on a loopback port of its own.
//
// Environment:
//   OIDC_MODULES  the node_modules folder that holds oidc-provider
//   OIDC_PEER     JSON: { "ttl": seconds, "clients": [{ "id", "secret", "auth", "audience" }] } where `auth` is
//                 "client_secret_basic" or "client_secret_post" and `audience` the API its tokens are for
//
// Stdout, one JSON object a line: first { event: "ready", issuer, token_url, jwks_uri }, then
// { event: "token", client, audience, jti } for each token issued. Never a secret or a token.
// It ends when stdin closes, so it can't outlive the test that started it.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const entry = `${process.env.OIDC_MODULES}/oidc-provider/lib/index.js`;
const { default: Provider } = await import(pathToFileURL(entry).href);
const { ttl, clients } = JSON.parse(process.env.OIDC_PEER);

// The API a client is registered for is the default resource: config has no `resource` key yet.
const audiences = new Map(clients.map(({ id, audience }) => [id, audience]));
const scope = 'orders:read orders:write repo';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const server = createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  adapter: Memory(),
  clients: clients.map(({ id, secret, auth }) => ({
    client_id: id,
    client_secret: secret,
    token_endpoint_auth_method: auth,
    grant_types: ['client_credentials'],
    id_token_signed_response_alg: 'ES256',
    redirect_uris: [],
    response_types: [],
    scope,
  })),
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  jwks: { keys: [signingKey()] },
  scopes: scope.split(' '),
  ttl: { ClientCredentials: ttl },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_ctx, client) => audiences.get(client.clientId),
      getResourceServerInfo: (_ctx, audience) => ({
        scope,
        audience,
        accessTokenFormat: 'jwt',
        accessTokenTTL: ttl,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
    revocation: { enabled: true },
  },
});
provider.on('client_credentials.issued', (token) =>
  say({ event: 'token', client: token.clientId, audience: token.aud, jti: token.jti }));
provider.on('server_error', (_ctx, error) => console.error(error));
server.on('request', provider.callback());

say({ event: 'ready', issuer, token_url: `${issuer}/token`, jwks_uri: `${issuer}/jwks` });
process.stdin.resume().on('end', () => process.exit(0));

/** A key of this run alone: none is ever written down. */
function signingKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: 'run', use: 'sig', alg: 'ES256' };
}

/** The provider's own in-memory store warns that it is one; this is the same, quiet. */
function Memory() {
  const rows = new Map();
  return class {
    constructor(name) { this.name = name; }
    async upsert(id, row) { rows.set(`${this.name}:${id}`, row); }
    async find(id) { return rows.get(`${this.name}:${id}`); }
    async destroy(id) { rows.delete(`${this.name}:${id}`); }
    async consume(id) { rows.get(`${this.name}:${id}`).consumed = true; }
  };
}

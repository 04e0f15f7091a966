// A real OpenID provider for the real-peer tests: npm's oidc-provider on a loopback port of its own.
//
// Environment:
//   OIDC_MODULES  the node_modules folder that holds oidc-provider
//   OIDC_PEER     JSON: { "ttl": seconds, "clients": [{ "id", "secret", "auth", "audience", "more" }], "tls" } where
//                 `auth` is a token endpoint's method, `audience` the API its tokens are for (absent: they are
//                 opaque), `more` further metadata, and `tls` { cert, key, client_ca } in PEM makes it https.
//                 "dpop": true: it binds tokens, and wants its nonce in each proof (RFC 9449);
//                 "people": true lets people log in, on the provider's own pages: any name with any password
//
// Stdout, one JSON object a line: first { event: "ready", issuer, token_url, jwks_uri }, then
// { event: "token", client, audience, jti } for each token issued to a client, { event: "refused", error } for each
// refusal at the token endpoint, { event: "rotated" } for each refresh token that was spent, { event: "grant-revoked" }
// for each login that ended. Never a secret or a token.
// It ends when stdin closes, so it can't outlive the test that started it.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { pathToFileURL } from 'node:url';

const entry = `${process.env.OIDC_MODULES}/oidc-provider/lib/index.js`;
const { default: Provider, errors } = await import(pathToFileURL(entry).href);
const { ttl, clients, tls, people, dpop } = JSON.parse(process.env.OIDC_PEER);

// The API a client is registered for is the default resource.
const audiences = new Map(clients.map(({ id, audience }) => [id, audience]));
const scope = 'orders:read orders:write repo';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessToken = 'urn:ietf:params:oauth:token-type:access_token';

const server = tls
  ? createTlsServer({
    cert: tls.cert, key: tls.key, ca: tls.client_ca, requestCert: true, rejectUnauthorized: false,
  })
  : createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const { port } = server.address();
const issuer = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  adapter: Memory(),
  clients: clients.map(({ id, secret, auth, more }) => ({
    client_id: id,
    client_secret: secret,
    token_endpoint_auth_method: auth,
    grant_types: ['client_credentials'],
    id_token_signed_response_alg: 'ES256',
    redirect_uris: [],
    response_types: [],
    scope,
    ...more,
  })),
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  jwks: { keys: [signingKey()] },
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'private_key_jwt', ...(tls ? ['tls_client_auth'] : []),
    ...(people ? ['none'] : []),
  ],
  scopes: [...scope.split(' '), ...(people ? ['openid', 'offline_access'] : [])],
  ttl: { ClientCredentials: ttl },
  ...(people ? {
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@people.example` }) }),
    claims: { openid: ['sub', 'email'] },
    conformIdTokenClaims: false,
  } : {}),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: Boolean(people) },
    dPoP: { enabled: Boolean(dpop), nonceSecret: randomBytes(32), requireNonce: () => true },
    devInteractions: { enabled: Boolean(people) },
    introspection: { enabled: true, allowedPolicy: () => true },
    mTLS: {
      enabled: Boolean(tls),
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, _property, expected) =>
        ctx.socket.getPeerCertificate().subject?.CN === expected,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_ctx, client) => audiences.get(client.clientId),
      useGrantedResource: () => true,
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
// RFC 8693 is not built in: subject tokens are those that it gave out itself.
provider.registerGrantType(exchange, async (ctx) => {
  const { params, client } = ctx.oidc;
  const subject = await provider.ClientCredentials.find(params.subject_token);
  if (!subject?.isValid || params.subject_token_type !== accessToken) {
    throw new errors.InvalidGrant('the subject token is not good');
  }
  const token = new provider.ClientCredentials({ client, scope: params.scope });
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: accessToken,
    token_type: 'Bearer',
    expires_in: token.expiration,
    scope: params.scope,
  };
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'scope', 'audience']);
provider.on('client_credentials.issued', (token) =>
  say({ event: 'token', client: token.clientId, audience: token.aud, jti: token.jti }));
provider.on('grant.error', (_ctx, error) => say({ event: 'refused', error: error.error }));
provider.on('grant.revoked', () => say({ event: 'grant-revoked' }));
provider.on('refresh_token.consumed', () => say({ event: 'rotated' }));
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
    // What people's logins need.
    mine(test) { return [...rows].filter(([id, row]) => id.startsWith(`${this.name}:`) && test(row)); }
    async findByUserCode(code) { return this.mine((row) => row.userCode === code)[0]?.[1]; }
    async findByUid(uid) { return this.mine((row) => row.uid === uid)[0]?.[1]; }
    async revokeByGrantId(grant) { this.mine((row) => row.grantId === grant).forEach(([id]) => rows.delete(id)); }
  };
}

// Judges one request as an API does that takes bound tokens (RFC 9449 sections 4.3 and 7), with npm's jose. Stdin: JSON
// { proof, token, method, url, nonce }, the last where the API has given one. Stdout: { jti, jkt }, or { error }.

import { createHash } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { text } from 'node:stream/consumers';

const entry = `${process.env.OIDC_MODULES}/jose/dist/webapi/index.js`;
const { EmbeddedJWK, calculateJwkThumbprint, decodeJwt, jwtVerify } = await import(pathToFileURL(entry).href);
const { proof, token, method, url, nonce } = JSON.parse(await text(process.stdin));
const same = (what, said, wanted) => {
  if (said !== wanted) throw new Error(`${what} is ${said}`);
};
try {
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
    algorithms: ['ES256'], typ: 'dpop+jwt', requiredClaims: ['jti', 'htm', 'htu', 'iat', 'ath'], maxTokenAge: '60s',
  });
  same('jwk.d', protectedHeader.jwk.d, undefined);
  same('htm', payload.htm, method);
  same('htu', payload.htu, url);
  same('ath', payload.ath, createHash('sha256').update(token).digest('base64url'));
  same('nonce', payload.nonce, nonce);
  const jkt = await calculateJwkThumbprint(protectedHeader.jwk);
  // What an introspection would say of an opaque token.
  same('cnf.jkt', decodeJwt(token).cnf?.jkt, jkt);
  process.stdout.write(JSON.stringify({ jti: payload.jti, jkt }));
} catch (error) {
  process.stdout.write(JSON.stringify({ error: error.code ?? error.message }));
}

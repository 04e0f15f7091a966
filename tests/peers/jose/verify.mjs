// Verifies one JWT with npm's jose. Stdin: JSON { token, key, alg }, where `key` is a public key in PEM or the
// shared secret. Stdout: the claims, or { error }.

import { pathToFileURL } from 'node:url';
import { text } from 'node:stream/consumers';

const entry = `${process.env.OIDC_MODULES}/jose/dist/webapi/index.js`;
const { importSPKI, jwtVerify } = await import(pathToFileURL(entry).href);
const { token, key, alg } = JSON.parse(await text(process.stdin));
try {
  const known = alg.startsWith('HS') ? new TextEncoder().encode(key) : await importSPKI(key, alg);
  const { payload } = await jwtVerify(token, known, { algorithms: [alg], audience: 'api' });
  process.stdout.write(JSON.stringify(payload));
} catch (error) {
  process.stdout.write(JSON.stringify({ error: error.code ?? String(error) }));
}

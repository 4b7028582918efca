// An OpenID provider on loopback, for tests/provider.rs:
//
//     provider.mjs PORT NAME:ALG...
//
// Publishes the keys with these names and signs with the first. Keys are made when first named, and kept in
// PGC_KEYS for the next start. Its clients are alice and bob, with the secrets in PGC_ALICE and PGC_BOB; each gets
// access tokens for the database as JWT.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const installed = createRequire(`${process.env.PGC_STATE}/clients/node/`);
const { default: Provider } = await import(pathToFileURL(installed.resolve('oidc-provider')));

const [port, ...names] = process.argv.slice(2);

function key(wanted) {
  const [name, alg] = wanted.split(':');
  const file = join(process.env.PGC_KEYS, `${name}.jwk`);
  if (!existsSync(file)) {
    const { privateKey } = alg.startsWith('RS')
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = `${name}-${randomBytes(4).toString('hex')}`;
    const jwk = { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
    writeFileSync(file, JSON.stringify(jwk), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

const keys = names.map(key);
const groups = { alice: ['support'], bob: ['analytics'] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  clients: Object.keys(groups).map((name) => ({
    client_id: name,
    client_secret: process.env[`PGC_${name.toUpperCase()}`],
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    id_token_signed_response_alg: keys[0].alg,
  })),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://shop.example/database',
      getResourceServerInfo: () => ({
        audience: 'pg_custodian',
        scope: '',
        accessTokenTTL: 900,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: keys[0].alg } },
      }),
    },
  },
  extraTokenClaims: (_, token) => ({
    groups: groups[token.clientId],
    email: `${token.clientId}@shop.example`,
  }),
});
provider.listen(Number(port), '127.0.0.1');

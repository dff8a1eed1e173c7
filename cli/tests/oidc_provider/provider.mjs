// A real OpenID provider (panva's oidc-provider) on a free port, for the tests. Prints its address as its only line.
//
// Whoever comes is signed in without a question, as the user whose claims stand, as JSON, in the header `X-Test-User`. Below `/test/` a
// test turns its keys, or has it sign what it wouldn't sign by itself.
// Usage: node provider.mjs REDIRECT_URI …

import { createServer } from "node:http";
import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT, UnsecuredJWT } from "jose";
import Provider, { interactionPolicy } from "oidc-provider";

// Nobody reads standard output after the address.
console.info = console.warn = console.error;

const redirectUris = process.argv.slice(2);
const users = new Map();
const server = createServer();
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

let generation = 0;
let keys;
let provider;

/** New keys, and a provider that has only these. What it had stored stays, since that is the process's. */
async function turnKeys() {
  generation += 1;
  keys = [];
  for (const alg of ["RS256", "ES256", "EdDSA"]) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ alg, kid: `${alg}-${generation}`, publicKey, jwk: await exportJWK(privateKey) });
  }
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: "writ",
        client_secret: "a secret: of%the client",
        redirect_uris: redirectUris,
        grant_types: ["authorization_code"],
        response_types: ["code"],
        token_endpoint_auth_method: "client_secret_basic",
        id_token_signed_response_alg: "RS256",
      },
    ],
    jwks: { keys: keys.map(({ alg, kid, jwk }) => ({ ...jwk, alg, kid, use: "sig" })) },
    cookies: { keys: ["of the tests"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    interactions: { policy: interactionPolicy.base(), url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId, ...users.get(accountId) }) }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope("openid profile email");
      await grant.save();
      return grant;
    },
  });
}

async function interact(request, response) {
  const { sub, ...claims } = JSON.parse(request.headers["x-test-user"]);
  users.set(sub, claims);
  await provider.interactionDetails(request, response);
  await provider.interactionFinished(request, response, { login: { accountId: sub } });
}

/** Signs `claims`: with the present key of `alg`, or in one of the ways in which a forger would. */
async function sign({ alg = "RS256", header = {}, claims, forge }) {
  const own = keys.find((key) => key.alg === alg) ?? keys[0];
  const stranger = async () => (await generateKeyPair(alg)).privateKey;
  const protectedHeader = { alg, kid: own.kid, ...header };
  switch (forge) {
    case undefined:
      return new SignJWT(claims).setProtectedHeader(protectedHeader).sign(await importJWK(own.jwk, alg));
    case "stranger":
      return new SignJWT(claims).setProtectedHeader(protectedHeader).sign(await stranger());
    case "public-pem-as-secret": {
      const secret = new TextEncoder().encode(await exportSPKI(own.publicKey));
      return new SignJWT(claims).setProtectedHeader({ ...protectedHeader, alg: "HS256" }).sign(secret);
    }
    case "public-modulus-as-secret": {
      const secret = Buffer.from((await exportJWK(own.publicKey)).n, "base64url");
      return new SignJWT(claims).setProtectedHeader({ ...protectedHeader, alg: "HS256" }).sign(secret);
    }
    case "none": {
      const payload = new UnsecuredJWT(claims).encode().split(".")[1];
      const none = Buffer.from(JSON.stringify({ ...protectedHeader, alg: "none" })).toString("base64url");
      return `${none}.${payload}.`;
    }
    default:
      throw new Error(`no such forgery: ${forge}`);
  }
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || "null");
}

await turnKeys();
server.on("request", async (request, response) => {
  try {
    const { pathname } = new URL(request.url, issuer);
    if (pathname.startsWith("/interaction/")) await interact(request, response);
    else if (pathname === "/test/turn-keys") response.end(await turnKeys());
    else if (pathname === "/test/sign") response.end(await sign(await body(request)));
    else provider.callback()(request, response);
  } catch (error) {
    response.writeHead(500).end(String(error.stack));
  }
});
console.log(issuer);

"""Verifies an access token with PyJWT, from the JWKS alone: python verify.py JWKS_URL ISSUER AUDIENCE < TOKEN"""

import json
import sys

import jwt

url, issuer, audience = sys.argv[1:]
token = sys.stdin.read().strip()
key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
claims = jwt.decode(token, key.key, algorithms=["EdDSA"], issuer=issuer, audience=audience)
print(json.dumps(claims))

"""A mail server that keeps what it gets: one JSON document per mail, read by Python's own parser of mails.

Demands STARTTLS, then a password. Usage: serve.py PORT FOLDER CERTIFICATE KEY USER PASSWORD
"""

import asyncio
import email
import email.policy
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

port, folder, certificate, key, user, password = sys.argv[1:]
folder = pathlib.Path(folder)


class Keep:
    """Writes each mail into the folder, whole at once."""

    def __init__(self):
        self.count = len(list(folder.glob("*.json")))

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: mail.get_body((kind,)).get_content()
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "text": part("plain"),
            "html": part("html"),
            "tls": session.ssl is not None,
            "raw": envelope.content.decode("latin-1"),
        }
        temporary = folder / "next.tmp"
        temporary.write_text(json.dumps(kept))
        temporary.rename(folder / f"{self.count:04}.json")
        self.count += 1
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good, handled=False)


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    keep = Keep()

    def protocol():
        return SMTP(
            keep,
            hostname="localhost",
            tls_context=tls,
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
        )

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", int(port))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())

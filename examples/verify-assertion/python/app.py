"""An app that takes requests only with an assertion of the sidecar beside it, and answers with the caller's SPIFFE ID."""

import base64
import json
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

KEYS_URL = os.environ["ASSERTION_KEYS"]
ISSUER = os.environ["ASSERTION_ISSUER"]
AUDIENCE = os.environ["ASSERTION_AUDIENCE"]


def decode(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class Keys:
    """The sidecar's keys by `kid`: fetched again when one is unknown, at most every ten seconds."""

    def __init__(self):
        self._keys = {}
        self._fetched = -10.0
        self._lock = threading.Lock()

    def get(self, kid):
        with self._lock:
            if kid not in self._keys and time.monotonic() - self._fetched >= 10:
                self._fetched = time.monotonic()
                self._keys = self._fetch()
            return self._keys.get(kid)

    def _fetch(self):
        with urllib.request.urlopen(KEYS_URL, timeout=5) as response:
            found = json.load(response)["keys"]
        keys = {}
        for key in found:
            if key["kty"] == "EC" and key["crv"] == "P-256":
                x, y = (int.from_bytes(decode(key[name]), "big") for name in ("x", "y"))
                keys[key["kid"]] = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        return keys


KEYS = Keys()


def verify(assertion):
    """The claims of a valid assertion. Raises ValueError for any other."""
    try:
        head, body, mac = assertion.split(".")
        header, claims, signature = json.loads(decode(head)), json.loads(decode(body)), decode(mac)
        key = KEYS.get(header["kid"]) if header["alg"] == "ES256" else None
        if key is None or len(signature) != 64:
            raise ValueError("no key of the sidecar signed it")
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        key.verify(der, f"{head}.{body}".encode("ascii"), ec.ECDSA(SHA256()))
    except (InvalidSignature, KeyError, TypeError, UnicodeError) as error:
        raise ValueError("not an assertion of the sidecar") from error
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise ValueError("of another sidecar, or for another app")
    if not isinstance(claims.get("exp"), (int, float)) or time.time() >= claims["exp"]:
        raise ValueError("it has ended")
    if not isinstance(claims.get("sub"), str):
        raise ValueError("it names nobody")
    return claims


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            status, text = 200, verify(self.headers.get("x-postern-assertion", ""))["sub"]
        except (ValueError, OSError):
            status, text = 401, "no valid assertion"
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), App)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

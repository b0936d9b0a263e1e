"""A program as users of py-spiffe write it. It says what it gets as lines of JSON, and ends when its standard input does."""

import json
import sys

from spiffe import JwtSource, WorkloadApiClient, X509Source


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


def say_x509(source):
    svid = source.svid
    domains = sorted(bundle.trust_domain.name for bundle in source.bundles)
    say("x509", id=str(svid.spiffe_id), serial=format(svid.leaf.serial_number, "x"), domains=domains, chain=len(svid.cert_chain))


with X509Source() as source:
    source.subscribe_for_updates(lambda: say_x509(source))
    say_x509(source)
    with WorkloadApiClient() as client:
        say("svids", count=len(client.fetch_x509_svids()))
        say("bundles", count=len(client.fetch_x509_bundles().bundles))
        token = client.fetch_jwt_svid(audience={"catalog"})
        say("jwt", id=str(token.spiffe_id), audience=sorted(token.audience))
        validated = client.validate_jwt_svid(token.token, audience="catalog")
        say("validated", id=str(validated.spiffe_id))
        try:
            client.validate_jwt_svid(token.token, audience="orders")
        except Exception as error:
            say("invalid", message=str(error))
        with JwtSource() as jwt_source:
            say("jwt-bundles", domains=sorted(bundle.trust_domain.name for bundle in jwt_source.bundles))
    sys.stdin.read()

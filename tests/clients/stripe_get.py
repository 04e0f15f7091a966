"""Python's stripe: it brings roots of its own and reads no variable that names others."""

import os
import sys

import stripe

stripe.api_key = os.environ["STRIPE_API_KEY"]
stripe.max_network_retries = 0
if sys.argv[1:] == ["--ca-bundle-from-environment"]:
    stripe.ca_bundle_path = os.environ["SSL_CERT_FILE"]
print(stripe.StripeClient(stripe.api_key).raw_request("get", "/v1/balance").data)

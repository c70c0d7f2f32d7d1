"""Verifies deliveries as a receiver does: a line of JSON on stdin, [{"secret", "headers", "body", "verifies"}].

Fails where one is not as said.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def is_taken(webhook, body, headers):
    try:
        return webhook.verify(body, headers) == json.loads(body)
    except WebhookVerificationError as error:
        assert "No matching signature" in str(error), error
        return False


for delivery in json.loads(sys.stdin.readline()):
    secret, headers, body = delivery["secret"], delivery["headers"], delivery["body"]
    webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())
    assert is_taken(webhook, body, headers) == delivery["verifies"], delivery
    assert not is_taken(webhook, body + " ", headers), delivery
    assert not is_taken(webhook, body, headers | {"webhook-id": "evt_other"}), delivery

"""Receives webhooks, verifies them and prints each event once.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_… python3 webhook.py [PORT]
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks import Webhook, WebhookVerificationError

secret = os.environ.get("WEBHOOK_SECRET")
port = int(sys.argv[1]) if len(sys.argv) > 1 else 8787
if not secret:
    sys.exit("usage: WEBHOOK_SECRET=… python3 webhook.py [PORT]")

# What begins with whsec_ the library takes as it is. Of any other secret the UTF-8 bytes are the key.
webhook = Webhook(secret if secret.startswith("whsec_") else secret.encode())

# What has been dealt with. Keep it where you keep what you do with an event, and write both in one transaction.
seen, lock = set(), Lock()


def handle(event):
    print(event["type"], json.dumps(event["data"], ensure_ascii=False), flush=True)


class Receiver(BaseHTTPRequestHandler):
    timeout = 15

    def do_POST(self):
        try:
            self.receive()
            status = 204  # Only now: what is answered with 2xx is not sent again.
        except (WebhookVerificationError, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            status = 400
        self.send_response(status)
        self.end_headers()

    def receive(self):
        # The bytes as they came: JSON that was read and written again may have another signature.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        event = webhook.verify(body, dict(self.headers))
        with lock:
            if self.headers["webhook-id"] not in seen:
                handle(event)
                seen.add(self.headers["webhook-id"])

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
print(f"listening on {port}", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    pass

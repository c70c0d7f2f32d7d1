<?php
// Receives webhooks, verifies them and prints each event once. Needs PHP 8 and no library.
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:8787 webhook.php

declare(strict_types=1);

const TOLERANCE = 300; // Seconds.

// Whether whoever has the secret signed this body, within the last five minutes.
function verify(string $secret, string $body, string $id, string $timestamp, string $signatures): bool
{
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    // What follows whsec_ is base64. Of any other secret the UTF-8 bytes are the key.
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6), true) : $secret;
    if ($key === false || $key === '') {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // There is one signature for each secret that is good: two for a day after a new one.
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

function handle(object $event): void
{
    $data = json_encode($event->data, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
    file_put_contents('php://stdout', "$event->type $data\n");
}

// The bytes as they came: JSON that was read and written again may have another signature.
$body = file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
if (!verify(getenv('WEBHOOK_SECRET') ?: '', $body, $id, $timestamp, $signatures)) {
    http_response_code(400);
    exit;
}

http_response_code(500); // Until it is dealt with: what fails now is sent again.
// What has been dealt with. Keep it where you keep what you do with an event, and write both in one transaction.
$seen = fopen('webhook-ids.txt', 'a+');
flock($seen, LOCK_EX);
if (!in_array($id, explode("\n", stream_get_contents($seen, -1, 0)), true)) {
    handle(json_decode($body, flags: JSON_THROW_ON_ERROR));
    fwrite($seen, "$id\n");
}
http_response_code(204); // Only now: what is answered with 2xx is not sent again.

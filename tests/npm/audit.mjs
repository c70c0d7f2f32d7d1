// Runs the server audits of graphql-http against a GraphQL endpoint: node audit.mjs URL
//
// Prints one line for each audit and exits with 0 only if all of them, MUST, SHOULD and MAY, are ok.
// AUDIT_TOKEN, if it is set, goes along with every request as a Bearer token.

import { serverAudits } from 'graphql-http';

// Of graphql-http 1.23.1: should an update bring fewer, someone is to look why.
const EXPECTED_AUDITS = 61;

const [url] = process.argv.slice(2);
if (!url) {
  console.error('usage: node audit.mjs URL');
  process.exit(2);
}

const token = process.env.AUDIT_TOKEN;

function fetchFn(input, init = {}) {
  const headers = new Headers(init.headers);
  if (token) headers.set('authorization', `Bearer ${token}`);
  return fetch(input, { ...init, headers, signal: AbortSignal.timeout(10_000) });
}

async function run(audit) {
  try {
    return await audit.fn();
  } catch (error) {
    return { status: 'error', reason: error.cause?.message ?? error.message };
  }
}

async function describe(response) {
  if (!response) return '';
  const body = response.bodyUsed ? '' : ` ${await response.text()}`;
  return ` (answered ${response.status} ${response.headers.get('content-type')}${body})`;
}

const audits = serverAudits({ url, fetchFn });
let passed = 0;
for (const audit of audits) {
  const result = await run(audit);
  if (result.status === 'ok') {
    passed += 1;
    console.log(`ok     ${audit.id} ${audit.name}`);
  } else {
    const answer = await describe(result.response);
    console.log(`${result.status.padEnd(6)} ${audit.id} ${audit.name}: ${result.reason}${answer}`);
  }
}

console.log(`${passed} of ${audits.length} audits ok`);
if (audits.length < EXPECTED_AUDITS) {
  console.error(`graphql-http has ${audits.length} audits, ${EXPECTED_AUDITS} were expected`);
}
process.exitCode = passed === audits.length && audits.length >= EXPECTED_AUDITS ? 0 : 1;

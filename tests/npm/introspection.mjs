// Asks a GraphQL endpoint for its schema the way tools do, in every variant: node introspection.mjs URL
//
// GraphiQL, @graphql-codegen and Apollo all send what graphql's getIntrospectionQuery writes, with options of their own.
// Each answer must make a valid schema for clients. Exits with 0 only if all do.

import { buildClientSchema, getIntrospectionQuery, validateSchema } from 'graphql';

const [url] = process.argv.slice(2);
if (!url) {
  console.error('usage: node introspection.mjs URL');
  process.exit(2);
}

const OPTIONS = [
  'descriptions',
  'specifiedByUrl',
  'directiveIsRepeatable',
  'schemaDescription',
  'inputValueDeprecation',
  'oneOf',
];

// Each option asks for fields of its own: none, all, one alone and all but one meet whatever there is to meet. Tools of
// years ago look 7 types deep, today's 9.
const all = (value) => Object.fromEntries(OPTIONS.map((option) => [option, value]));
const choices = [true, false].flatMap((value) => [
  all(value),
  ...OPTIONS.map((option) => ({ ...all(value), [option]: !value })),
]);
const variants = [7, 9].flatMap((typeDepth) => choices.map((choice) => ({ ...choice, typeDepth })));

async function ask(query) {
  const start = performance.now();
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ query, operationName: 'IntrospectionQuery' }),
    signal: AbortSignal.timeout(10_000),
  });
  const answer = await response.json();
  return { answer, took: performance.now() - start };
}

let passed = 0;
let slowest = 0;
for (const options of variants) {
  const { answer, took } = await ask(getIntrospectionQuery(options));
  slowest = Math.max(slowest, took);
  const problems = answer.errors ?? validateSchema(buildClientSchema(answer.data));
  if (problems.length === 0) {
    passed += 1;
  } else {
    console.log(`${JSON.stringify(options)}: ${problems.map((problem) => problem.message).join('; ')}`);
  }
}
console.log(`${passed} of ${variants.length} introspections ok, the slowest took ${slowest.toFixed(1)} ms`);
process.exitCode = passed === variants.length ? 0 : 1;

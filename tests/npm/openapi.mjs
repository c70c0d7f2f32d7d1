// Holds an OpenAPI document to its specification, and answers to the document: node openapi.mjs <INPUT
//
// The input is {"document": …, "samples": [{"method", "path", "status", "type", "body"}]}, where `path` is below the
// server's address, without a query string. Each problem is a line; exits with 0 only if there is none.

import { text } from 'node:stream/consumers';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const { document, samples } = JSON.parse(await text(process.stdin));
const problems = [];

const validation = await new Validator().validate(structuredClone(document));
if (!validation.valid) problems.push(`the document: ${JSON.stringify(validation.errors)}`);

// The document's own schemas, found by their references into it.
const ajv = new Ajv2020({ strict: false, allErrors: true, discriminator: false });
addFormats(ajv);
for (const format of ['int32', 'int64', 'password']) ajv.addFormat(format, true);
ajv.addSchema({ $id: 'document', ...document });

const pointer = (...parts) => parts.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/');
const compiled = new Map();
function schemaAt(path) {
  if (!compiled.has(path)) compiled.set(path, ajv.compile({ $ref: `document#/${encodeURI(path)}` }));
  return compiled.get(path);
}

// Literal segments win over parameters.
const templates = Object.keys(document.paths).sort((a, b) => a.split('{').length - b.split('{').length);
function templateOf(path) {
  const asked = path.split('/');
  return templates.find((template) => {
    const segments = template.split('/');
    return (
      segments.length === asked.length &&
      segments.every((segment, nth) => segment === asked[nth] || (segment.startsWith('{') && asked[nth] !== ''))
    );
  });
}

for (const { method, path, status, type, body } of samples) {
  const name = `${method} ${path} ${status}`;
  const template = templateOf(path);
  if (!template) {
    problems.push(`${name}: the path is not documented`);
    continue;
  }
  const verb = method.toLowerCase();
  const response = document.paths[template][verb]?.responses?.[status];
  if (!response) {
    problems.push(`${name}: ${verb} ${template} has no such answer`);
    continue;
  }
  const content = response.content?.['application/json'];
  if (!content || !/^application\/json\b/.test(type ?? '')) {
    problems.push(`${name}: is ${type}, and documented as ${Object.keys(response.content ?? {})}`);
    continue;
  }
  const parts = ['paths', template, verb, 'responses', String(status), 'content', 'application/json', 'schema'];
  const validate = schemaAt(pointer(...parts));
  if (!validate(body)) {
    problems.push(`${name}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(body)}`);
  }
}

for (const problem of problems) console.log(problem);
console.log(`${samples.length} answers looked at, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

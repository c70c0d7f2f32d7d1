// The tabs that the explorer opens with are correct by the schema that the server exports, variables included.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { buildSchema, getOperationAST, getVariableValues, parse, validate } from "graphql";
import { tabs } from "../src/graphql/tabs.ts";

const schema = buildSchema(readFileSync(new URL("../../schema.graphql", import.meta.url), "utf8"));

for (const { query, variables } of tabs) {
  const document = parse(query);
  const operation = getOperationAST(document);

  test(operation.name.value, () => {
    assert.match(query, /^# [A-Z]/, "it begins with a comment");
    assert.deepEqual(validate(schema, document), []);
    assert.equal(getVariableValues(schema, operation.variableDefinitions, JSON.parse(variables)).errors, undefined);
    for (const name of Object.keys(JSON.parse(variables))) {
      assert.ok(operation.variableDefinitions.some((definition) => definition.variable.name.value === name), name);
    }
  });
}

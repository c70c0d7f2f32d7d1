import type { CodegenConfig } from "@graphql-codegen/cli";

// Typed documents for src/chat, from the schema that the server exports.
const config: CodegenConfig = {
  schema: "../schema.graphql",
  documents: "src/chat/**/*.{ts,tsx}",
  generates: {
    "src/chat/gql/": { preset: "client", presetConfig: { fragmentMasking: false } },
  },
};
export default config;

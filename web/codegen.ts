import type { CodegenConfig } from "@graphql-codegen/cli";

// Typed documents for src/chat, from the schema that the server exports.
const config: CodegenConfig = {
  schema: "../schema.graphql",
  documents: "src/chat/**/*.{ts,tsx}",
  ignoreNoDocuments: true,
  generates: {
    "src/chat/gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: {
        enumsAsTypes: true,
        useTypeImports: true,
        scalars: { DateTime: "string", URL: "string", JSON: "unknown", Upload: "File" },
      },
    },
  },
};
export default config;

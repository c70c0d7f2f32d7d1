import { graphql } from "./gql";
export const me = graphql(`query Me { viewer { user { username } } }`);

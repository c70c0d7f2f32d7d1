import { graphql } from "../gql";

export const MODELS = graphql(`
  query Models {
    models {
      name
      provider
      supportsAudio
    }
  }
`);

export const SESSIONS = graphql(`
  query Sessions($after: String) {
    viewer {
      sessions(first: 20, after: $after) {
        nodes {
          id
          createdAt
          messageCount
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`);

export const SESSION = graphql(`
  query Session($id: ID!) {
    viewer {
      session(id: $id) {
        id
        messages {
          role
          content
          timestamp
        }
      }
    }
  }
`);

export const DELETE_SESSION = graphql(`
  mutation DeleteSession($id: ID!) {
    deleteSession(id: $id) {
      session {
        id
      }
    }
  }
`);

export const GENERATION = graphql(`
  subscription Generation($input: GenerateInput!) {
    generation(input: $input) {
      __typename
      ... on GenerationDelta {
        text
      }
      ... on GeneratePayload {
        response
        audioUrl
        sessionId
        triggers {
          id
          name
        }
      }
    }
  }
`);

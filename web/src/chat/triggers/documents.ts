import { graphql } from "../gql";
import type { TriggerFragment } from "../gql/graphql";

export type Trigger = TriggerFragment;

/** A list that is empty names no type by which the cache could know that there is something new for it. */
export const LISTS = { additionalTypenames: ["Trigger"] };

graphql(`
  fragment Trigger on Trigger {
    id
    name
    description
    content
    isPublic
    revision
    creator {
      id
      username
    }
  }
`);

export const TRIGGERS = graphql(`
  query Triggers($search: String, $creator: String, $after: String) {
    triggers(search: $search, creator: $creator, first: 20, after: $after) {
      nodes {
        ...Trigger
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`);

export const TRIGGER = graphql(`
  query Trigger($id: ID!) {
    trigger(id: $id) {
      ...Trigger
    }
  }
`);

// The id of the profile is what tells the cache that these are the ones that a mutation has changed.
export const MY_TRIGGERS = graphql(`
  query MyTriggers {
    viewer {
      triggersPaused
      profile {
        id
        triggers {
          ...Trigger
        }
      }
    }
  }
`);

export const CONSENTS = graphql(`
  query Consents($after: String) {
    viewer {
      consents(first: 20, after: $after) {
        nodes {
          id
          kind
          revision
          timestamp
          trigger {
            id
            name
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`);

export const ACTIVATE = graphql(`
  mutation Activate($id: ID!, $revision: Int!) {
    activateTrigger(id: $id, revision: $revision) {
      profile {
        id
      }
    }
  }
`);

export const DEACTIVATE = graphql(`
  mutation Deactivate($id: ID!) {
    deactivateTrigger(id: $id) {
      profile {
        id
      }
    }
  }
`);

export const PAUSE = graphql(`
  mutation Pause {
    pauseTriggers {
      profile {
        id
      }
    }
  }
`);

export const RESUME = graphql(`
  mutation Resume {
    resumeTriggers {
      profile {
        id
      }
    }
  }
`);

export const CREATE_TRIGGER = graphql(`
  mutation CreateTrigger($input: CreateTriggerInput!) {
    createTrigger(input: $input) {
      trigger {
        ...Trigger
      }
    }
  }
`);

export const UPDATE_TRIGGER = graphql(`
  mutation UpdateTrigger($id: ID!, $input: UpdateTriggerInput!) {
    updateTrigger(id: $id, input: $input) {
      trigger {
        ...Trigger
      }
    }
  }
`);

export const DELETE_TRIGGER = graphql(`
  mutation DeleteTrigger($id: ID!) {
    deleteTrigger(id: $id) {
      trigger {
        id
      }
    }
  }
`);

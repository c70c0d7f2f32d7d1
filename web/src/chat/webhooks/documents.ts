import { graphql } from "../gql";
import type { EventKind, WebhookFragment } from "../gql/graphql";

export type Webhook = WebhookFragment;

/** What webhooks may be told of. */
export const EVENTS: Partial<Record<EventKind, string>> = {
  MESSAGE_NEW: "A message was sent",
  MESSAGE_EDIT: "A message was edited",
  MESSAGE_DELETE: "A message was deleted",
  PROFILE_UPDATE: "A profile was changed",
  TRIGGER_SHARED: "A trigger was shared",
};

graphql(`
  fragment Webhook on Webhook {
    id
    url
    events
    isActive
    deactivatedReason
    createdAt
    health {
      successRate
      pending
      lastError
      nextAttemptAt
      failingSince
    }
  }
`);

export const WEBHOOKS = graphql(`
  query Webhooks {
    viewer {
      webhooks(first: 10) {
        nodes {
          ...Webhook
        }
      }
    }
  }
`);

export const DELIVERIES = graphql(`
  query Deliveries($id: ID!, $after: String) {
    viewer {
      webhook(id: $id) {
        id
        deliveries(first: 20, after: $after) {
          nodes {
            id
            kind
            status
            attempts
            responseStatus
            error
            nextAttemptAt
            createdAt
          }
          pageInfo {
            hasNextPage
            endCursor
          }
        }
      }
    }
  }
`);

export const CREATE_WEBHOOK = graphql(`
  mutation CreateWebhook($input: CreateWebhookInput!) {
    createWebhook(input: $input) {
      secret
      webhook {
        id
      }
    }
  }
`);

export const UPDATE_WEBHOOK = graphql(`
  mutation UpdateWebhook($id: ID!, $input: UpdateWebhookInput!) {
    updateWebhook(id: $id, input: $input) {
      webhook {
        ...Webhook
      }
    }
  }
`);

export const DELETE_WEBHOOK = graphql(`
  mutation DeleteWebhook($id: ID!) {
    deleteWebhook(id: $id) {
      webhook {
        id
      }
    }
  }
`);

export const PING_WEBHOOK = graphql(`
  mutation PingWebhook($id: ID!) {
    pingWebhook(id: $id) {
      delivery {
        id
      }
    }
  }
`);

export const REDELIVER = graphql(`
  mutation Redeliver($id: ID!) {
    redeliver(deliveryId: $id) {
      delivery {
        id
      }
    }
  }
`);

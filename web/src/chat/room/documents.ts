import { graphql } from "../gql";
import type { MessageFragment } from "../gql/graphql";

export type Message = MessageFragment;

// No more of the author than this: the server renders it once for all who listen.
graphql(`
  fragment Message on Message {
    id
    number
    content
    timestamp
    editedAt
    deletedAt
    author {
      id
      username
    }
  }
`);

export const OPEN_ROOM = graphql(`
  query OpenRoom($room: String!) {
    room(name: $room) {
      messages(last: 50) {
        nodes {
          ...Message
        }
        pageInfo {
          hasPreviousPage
        }
      }
      members {
        id
        username
      }
    }
  }
`);

// Before nothing are the last ones: all that were loaded may have been by someone who is blocked now.
export const EARLIER = graphql(`
  query Earlier($room: String!, $before: String) {
    room(name: $room) {
      messages(last: 50, before: $before) {
        nodes {
          ...Message
        }
        pageInfo {
          hasPreviousPage
        }
      }
    }
  }
`);

export const ROOM_CHANGED = graphql(`
  subscription RoomChanged($room: String!, $after: ID) {
    roomChanged(room: $room, after: $after) {
      __typename
      ... on MessageAdded {
        id
        message {
          ...Message
        }
      }
      ... on MessageEdited {
        id
        message {
          ...Message
        }
      }
      ... on MessageDeleted {
        id
        message {
          ...Message
        }
      }
      ... on MemberJoined {
        user {
          id
          username
        }
      }
      ... on MemberLeft {
        user {
          id
          username
        }
      }
      ... on MemberTyping {
        user {
          id
          username
        }
      }
    }
  }
`);

export const SEND_MESSAGE = graphql(`
  mutation SendMessage($input: SendMessageInput!) {
    sendMessage(input: $input) {
      message {
        ...Message
      }
    }
  }
`);

export const EDIT_MESSAGE = graphql(`
  mutation EditMessage($id: ID!, $input: EditMessageInput!) {
    editMessage(id: $id, input: $input) {
      message {
        ...Message
      }
    }
  }
`);

export const DELETE_MESSAGE = graphql(`
  mutation DeleteMessage($id: ID!) {
    deleteMessage(id: $id) {
      message {
        ...Message
      }
    }
  }
`);

export const REPORT_MESSAGE = graphql(`
  mutation ReportMessage($id: ID!, $input: ReportInput!) {
    reportMessage(id: $id, input: $input) {
      id
    }
  }
`);

export const ROOMS = graphql(`
  query Rooms($after: String) {
    rooms(first: 100, after: $after) {
      nodes {
        id
        name
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`);

export const CREATE_ROOM = graphql(`
  mutation CreateRoom($input: CreateRoomInput!) {
    createRoom(input: $input) {
      room {
        id
        name
      }
    }
  }
`);

export const BLOCK = graphql(`
  mutation Block($username: String!) {
    blockMember(username: $username) {
      user {
        id
      }
    }
  }
`);

export const UNBLOCK = graphql(`
  mutation Unblock($username: String!) {
    unblockMember(username: $username) {
      user {
        id
      }
    }
  }
`);

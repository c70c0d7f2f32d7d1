/** A tab of the explorer: a document that says in its first comment what it does, and variables to run it with. */
export interface Tab {
  query: string;
  variables: string;
}

const tab = (query: string, variables: object = {}): Tab => ({
  query: query.trim() + "\n",
  variables: JSON.stringify(variables, null, 2),
});

/** What the explorer opens with, in the order in which a newcomer wants it. test/tabs.mjs runs them by the schema. */
export const tabs: Tab[] = [
  tab(
    `
# Makes an account and logs this browser in.
# Members are 18 or older, and say so by ofAge.
mutation Register($input: RegisterInput!) {
  register(input: $input) {
    user { id username role }
  }
}`,
    { input: { username: "ada", password: "a long passphrase", ofAge: true } },
  ),
  tab(
    `
# Logs this browser in, by a cookie that goes
# along from all tabs. A program without cookies
# asks for token too, for "Authorization: Bearer …".
mutation LogIn($input: LoginInput!) {
  login(input: $input) {
    user { id username role }
  }
}`,
    { input: { username: "ada", password: "a long passphrase" } },
  ),
  tab(`
# Who is logged in, with active triggers, and
# what is left of the minute's budget.
query MyProfile {
  viewer {
    user { username role createdAt }
    profile {
      displayName
      isPublic
      xp
      level
      triggers { id name }
    }
    triggersPaused
    rateLimit { limit remaining resetAt }
  }
}`),
  tab(
    `
# Public triggers and your own, newest first.
# For the next page, set after to endCursor.
# Nobody has a trigger until they activate it:
# mutation activateTrigger.
query Triggers($search: String, $first: Int!, $after: String) {
  triggers(search: $search, first: $first, after: $after) {
    nodes {
      id
      name
      description
      isPublic
      revision
      creator { username }
    }
    pageInfo { hasNextPage endCursor }
  }
}`,
    { search: null, first: 20, after: null },
  ),
  tab(
    `
# Says something in a room. It shows up where
# WatchRoom runs, in another window or tab.
mutation SendMessage($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message {
      id
      number
      content
      timestamp
      author { username }
    }
  }
}`,
    { input: { room: "lobby", content: "Hello everyone!" } },
  ),
  tab(
    `
# Tells what happens in a room as it happens,
# over a WebSocket, until stopped. Log in first.
# With after, the id of a message or event, it
# goes on there: nothing lost, nothing twice.
subscription WatchRoom($room: String!, $after: ID) {
  roomChanged(room: $room, after: $after) {
    __typename
    ... on MessageAdded {
      id
      message { number content author { username } }
    }
    ... on MessageEdited { id message { number content } }
    ... on MessageDeleted { id message { number } }
    ... on MemberJoined { user { username } }
    ... on MemberLeft { user { username } }
    ... on MemberTyping { user { username } }
  }
}`,
    { room: "lobby", after: null },
  ),
];

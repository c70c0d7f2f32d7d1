// What is known of a room. Whatever comes in whatever order, and however often: each message is there once, by number.

import type { Message } from "./documents";

export interface Member {
  id: string;
  username: string;
}

export interface Timeline {
  isOpen: boolean;
  messages: Message[];
  /** Whether there are messages before the first of these. */
  hasEarlier: boolean;
  members: Member[];
  /** Who was typing when, in milliseconds, by username. */
  typing: Record<string, number>;
}

export type Change =
  | { type: "opened"; messages: Message[]; hasEarlier: boolean }
  | { type: "earlier"; messages: Message[]; hasEarlier: boolean }
  | { type: "message"; message: Message }
  | { type: "members"; members: Member[] }
  | { type: "joined" | "left"; member: Member }
  | { type: "typing"; member: Member; now: number }
  | { type: "blocked"; username: string }
  | { type: "shortened" }
  | { type: "time"; now: number };

export const UNKNOWN: Timeline = { isOpen: false, messages: [], hasEarlier: false, members: [], typing: {} };

/** How many messages are kept where nobody reads further up: a page may be open for weeks. */
export const KEPT = 500;

/** For how long someone is said to be typing, in milliseconds. */
const TYPING = 4_000;

export function changed(timeline: Timeline, change: Change): Timeline {
  switch (change.type) {
    case "opened":
      return { ...timeline, isOpen: true, messages: change.messages, hasEarlier: change.hasEarlier };
    case "earlier":
      return { ...timeline, messages: merge(change.messages, timeline.messages), hasEarlier: change.hasEarlier };
    case "message": {
      // An edit of what is not loaded yet is seen when it is.
      const first = timeline.messages[0];
      if (first && timeline.hasEarlier && change.message.number < first.number) return timeline;
      const { [change.message.author.username]: _, ...typing } = timeline.typing;
      return { ...timeline, messages: merge(timeline.messages, [change.message]), typing };
    }
    case "members":
      return { ...timeline, members: change.members };
    case "joined":
      return { ...timeline, members: [...without(timeline.members, change.member), change.member].sort(byUsername) };
    case "left":
      return { ...timeline, members: without(timeline.members, change.member) };
    case "typing":
      return { ...timeline, typing: { ...timeline.typing, [change.member.username]: change.now } };
    case "blocked":
      return {
        ...timeline,
        messages: timeline.messages.filter(({ author }) => author.username !== change.username),
        members: timeline.members.filter(({ username }) => username !== change.username),
      };
    case "shortened":
      return { ...timeline, messages: timeline.messages.slice(-KEPT), hasEarlier: true };
    case "time": {
      const entries = Object.entries(timeline.typing);
      const typing = Object.fromEntries(entries.filter(([, since]) => change.now - since < TYPING));
      return { ...timeline, typing };
    }
  }
}

/** The later one of two versions of a message counts, which is the one of `after`. */
function merge(before: Message[], after: Message[]) {
  const byId = new Map([...before, ...after].map((message) => [message.id, message]));
  return [...byId.values()].sort((one, other) => one.number - other.number);
}

function without(members: Member[], { id }: Member) {
  return members.filter((member) => member.id !== id);
}

function byUsername(one: Member, other: Member) {
  return one.username.localeCompare(other.username);
}

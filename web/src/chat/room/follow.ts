// Follows a room without a gap, through lost connections, restarts and sleep. docs/live-chat.md says how.

import { CombinedError, type Client } from "@urql/core";
import { backoff, pause, stream } from "../connection";
import type { RoomChangedSubscription } from "../gql/graphql";
import { passes, problem, type Problem } from "../problem";
import { OPEN_ROOM, ROOM_CHANGED } from "./documents";
import type { Change } from "./timeline";

/** How often an empty room, which has no place to go on after, is looked at again, in milliseconds. */
const LOOK_AGAIN = 15_000;

/**
 * Tells of everything in a room, from its last 50 messages on, until `signal` ends it. What is in the way is told to
 * `hindered`, and undefined when it is no more; it gives up on what does not pass.
 */
export async function follow(
  client: Client,
  room: string,
  signal: AbortSignal,
  tell: (change: Change) => void,
  hindered: (problem?: Problem) => void,
) {
  // The id of the last thing that was told: what comes later comes after it.
  let place: string | null = null;

  async function look() {
    const { data, error } = await client.query(OPEN_ROOM, { room }, { requestPolicy: "network-only" }).toPromise();
    if (signal.aborted) return;
    if (error) throw error;
    const { messages, members } = data!.room!;
    tell({ type: "members", members });
    if (place) return;
    place = messages.nodes.at(-1)?.id ?? null;
    tell({ type: "opened", messages: messages.nodes, hasEarlier: messages.pageInfo.hasPreviousPage });
  }

  async function listen() {
    const again = place ? 0 : setInterval(() => place || look().catch(() => {}), LOOK_AGAIN);
    try {
      for await (const { roomChanged } of stream(client, ROOM_CHANGED, { room, after: place }, signal)) {
        // The first one in an empty room, with others before it that nobody told us of.
        if (!place && "message" in roomChanged && roomChanged.message.number > 1) await look();
        tell(change(roomChanged));
        if ("id" in roomChanged) place = roomChanged.id;
      }
    } finally {
      clearInterval(again);
    }
  }

  for (let attempt = 0; !signal.aborted; attempt++) {
    const began = Date.now();
    try {
      await look();
      hindered();
      await listen();
    } catch (error) {
      if (!(error instanceof CombinedError)) throw error;
      const reason = problem(error);
      if (signal.aborted) return;
      if (reason.code === "NOT_FOUND" && place) {
        place = null; // It is gone from the log. The messages are not: begin anew.
      } else {
        hindered(reason);
        if (!passes(reason)) return;
        if (reason.retryAfter) await pause(1_000 * reason.retryAfter, signal);
      }
    }
    if (Date.now() - began > LOOK_AGAIN) attempt = 0; // It was in for a while.
    await backoff(attempt, signal);
  }
}

function change(event: RoomChangedSubscription["roomChanged"]): Change {
  switch (event.__typename) {
    case "MessageAdded":
    case "MessageEdited":
    case "MessageDeleted":
      return { type: "message", message: event.message };
    case "MemberJoined":
      return { type: "joined", member: event.user };
    case "MemberLeft":
      return { type: "left", member: event.user };
    case "MemberTyping":
      return { type: "typing", member: event.user, now: Date.now() };
  }
}

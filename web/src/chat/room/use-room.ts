import { useCallback, useEffect, useReducer, useState } from "react";
import { useClient } from "urql";
import { problem, type Problem } from "../problem";
import { EARLIER } from "./documents";
import { follow } from "./follow";
import { changed, UNKNOWN } from "./timeline";

/** A room as it is now and while it changes. To show another room, make another component (`key`). */
export function useRoom(room: string) {
  const client = useClient();
  const [timeline, tell] = useReducer(changed, UNKNOWN);
  const [hindrance, setHindrance] = useState<Problem>();

  useEffect(() => {
    const stop = new AbortController();
    void follow(client, room, stop.signal, tell, setHindrance);
    return () => stop.abort();
  }, [client, room]);

  const isAnyoneTyping = Object.keys(timeline.typing).length > 0;
  useEffect(() => {
    if (!isAnyoneTyping) return;
    const timer = setInterval(() => tell({ type: "time", now: Date.now() }), 1_000);
    return () => clearInterval(timer);
  }, [isAnyoneTyping]);

  const first = timeline.messages[0]?.id;
  const loadEarlier = useCallback(async () => {
    const { data, error } = await client
      .query(EARLIER, { room, before: first }, { requestPolicy: "network-only" })
      .toPromise();
    if (error) return problem(error);
    const { nodes, pageInfo } = data!.room!.messages;
    tell({ type: "earlier", messages: nodes, hasEarlier: pageInfo.hasPreviousPage });
  }, [client, room, first]);

  return { timeline, hindrance, tell, loadEarlier };
}

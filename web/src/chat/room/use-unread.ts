import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Message } from "./documents";

/**
 * What a member has not seen yet: `unread` messages, and `divider`, the number of the last one seen before them. A
 * message is seen when it is there while one `isLooking` at the end of the room.
 */
export function useUnread(room: string, messages: Message[], isLooking: boolean, username: string) {
  const storageKey = `read up to in ${room} by ${username}`;
  const [read, setRead] = useState(() => Number(localStorage.getItem(storageKey) ?? Infinity));
  const [divider, setDivider] = useState(read);
  const last = messages.at(-1)?.number ?? 0;
  const wasLooking = useRef(false);

  useEffect(() => {
    if (isLooking && last > 0) {
      if (wasLooking.current) setDivider(last);
      setRead(last);
      localStorage.setItem(storageKey, String(last));
    }
    wasLooking.current = isLooking && last > 0;
  }, [isLooking, last, storageKey]);

  const unread = messages.filter(({ number, author }) => number > read && author.username !== username).length;
  return { unread, divider };
}

/** Whether the page can be seen. */
export function useVisible() {
  return useSyncExternalStore(onVisibilityChange, () => document.visibilityState === "visible");
}

function onVisibilityChange(listener: () => void) {
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}

import { useSyncExternalStore } from "react";

/**
 * Where one is: `#room/lobby` is `["room", "lobby"]`. In the address, so that links and the back button work. Not decoded:
 * no name in it needs that, and what somebody else wrote there may be malformed.
 */
export function useRoute() {
  const hash = useSyncExternalStore(onHashChange, () => location.hash);
  return hash.slice(1).split("/");
}

function onHashChange(listener: () => void) {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
}

import { useSyncExternalStore } from "react";

/** Where one is: `#room/lobby` is `["room", "lobby"]`. In the address, so that links and the back button work. */
export function useRoute() {
  const hash = useSyncExternalStore(onHashChange, () => location.hash);
  return hash.slice(1).split("/").map(decodeURIComponent);
}

function onHashChange(listener: () => void) {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
}

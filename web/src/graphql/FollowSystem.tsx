import { useGraphiQLActions } from "@graphiql/react";
import { useEffect } from "react";

/** Changes the editors' colours with the system's: GraphiQL looks once and then no more. */
export function FollowSystem() {
  const { setTheme } = useGraphiQLActions();
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => setTheme(null);
    dark.addEventListener("change", follow);
    return () => dark.removeEventListener("change", follow);
  }, [setTheme]);
  return null;
}

import { useQuery } from "urql";
import { problem } from "../problem";
import { LISTS, MY_TRIGGERS } from "../triggers/documents";
import { PauseButton } from "../triggers/pause-button";
import { Notice } from "../ui/notice";

/** What the next answer may use, and the way to stop that. */
export function ActiveTriggers() {
  const [{ data, error }] = useQuery({ query: MY_TRIGGERS, context: LISTS, requestPolicy: "cache-and-network" });
  if (error) return <Notice problem={problem(error)} />;
  if (!data?.viewer) return <span role="status">One moment…</span>;
  const { triggersPaused, profile } = data.viewer;
  const names = profile.triggers.map(({ name }) => name).join(", ");
  return (
    <>
      <span role="status">
        {triggersPaused ? "Paused: none is used." : names ? `May use ${names}.` : "You have activated none."}
      </span>
      {(triggersPaused || names) && <PauseButton isPaused={triggersPaused} />}
    </>
  );
}

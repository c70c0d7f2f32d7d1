import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { PAUSE, RESUME } from "./documents";

/** Pauses all triggers at once, or ends that. It is wherever they may be used. */
export function PauseButton({ isPaused }: { isPaused: boolean }) {
  const pause = useAction(PAUSE);
  const resume = useAction(RESUME);
  return (
    <>
      {isPaused ? (
        <button type="button" className="plain" disabled={resume.isRunning} onClick={() => resume.run({})}>
          Resume my triggers
        </button>
      ) : (
        <button type="button" disabled={pause.isRunning} onClick={() => pause.run({})}>
          Pause all my triggers
        </button>
      )}
      <Notice problem={pause.problem ?? resume.problem} />
    </>
  );
}

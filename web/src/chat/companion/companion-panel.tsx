import "../ui/talk.css";
import "./companion.css";
import { useState } from "react";
import { Conversation } from "./conversation";
import { Sessions } from "./sessions";

/** Private conversations with companions. */
export default function CompanionPanel({ isShown }: { isShown: boolean }) {
  const [opened, setOpened] = useState<{ key: number; sessionId?: string }>({ key: 0 });
  // The conversation that is open gets its session with the first answer, and stays as it is.
  const [sessionId, setSessionId] = useState<string>();

  function open(id?: string) {
    setOpened(({ key }) => ({ key: key + 1, sessionId: id }));
    setSessionId(id);
  }

  return (
    <div className="companion" hidden={!isShown}>
      <Sessions current={sessionId} onOpen={open} onDeleted={(id) => id === sessionId && open()} />
      <Conversation key={opened.key} sessionId={opened.sessionId} onSession={setSessionId} />
    </div>
  );
}

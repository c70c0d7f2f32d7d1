import { useState } from "react";
import { useQuery } from "urql";
import { Confirm } from "../ui/dialog";
import { Notice } from "../ui/notice";
import { More, Pages, Pending } from "../ui/pages";
import { useAction } from "../ui/use-action";
import { When } from "../ui/when";
import { DELETE_SESSION, SESSIONS } from "./documents";

interface Props {
  current?: string;
  onOpen: (sessionId?: string) => void;
  onDeleted: (sessionId: string) => void;
}

// On narrow screens the list is over the conversation.
const CLOSE = { popoverTarget: "sessions", popoverTargetAction: "hide" } as const;

export function Sessions({ current, onOpen, onDeleted }: Props) {
  const [deleting, setDeleting] = useState<string>();
  const remove = useAction(DELETE_SESSION);

  async function deleteIt(id: string) {
    setDeleting(undefined);
    if (await remove.run({ id })) onDeleted(id);
  }

  return (
    <>
      <nav id="sessions" className="side" popover="auto" aria-labelledby="sessions-heading">
        <h2 id="sessions-heading">Conversations</h2>
        <button type="button" {...CLOSE} onClick={() => onOpen()}>
          New conversation
        </button>
        <Notice problem={remove.problem} />
        <ul>
          <Pages
            page={(after, onMore) => (
              <Page after={after} current={current} onOpen={onOpen} onDelete={setDeleting} onMore={onMore} />
            )}
          />
        </ul>
      </nav>
      {deleting && (
        <Confirm
          title="Delete this conversation?"
          action="Delete"
          onYes={() => deleteIt(deleting)}
          onNo={() => setDeleting(undefined)}
        >
          All that was said in it goes, and what was read aloud. It cannot be brought back.
        </Confirm>
      )}
    </>
  );
}

interface PageProps {
  after?: string;
  current?: string;
  onOpen: (sessionId: string) => void;
  onDelete: (sessionId: string) => void;
  onMore?: (cursor: string) => void;
}

function Page({ after, current, onOpen, onDelete, onMore }: PageProps) {
  const [{ data, error }] = useQuery({ query: SESSIONS, variables: { after }, requestPolicy: "cache-and-network" });
  const sessions = data?.viewer?.sessions;
  if (!sessions) return <Pending error={error} />;
  return (
    <>
      {sessions.nodes.map(({ id, createdAt, messageCount }) => (
        <li key={id} className="session">
          <button
            type="button"
            className="person"
            {...CLOSE}
            aria-current={id === current || undefined}
            onClick={() => onOpen(id)}
          >
            <span>
              <When time={createdAt} />{" "}
              <span className="quiet">
                {messageCount / 2} {messageCount === 2 ? "answer" : "answers"}
              </span>
            </span>
          </button>
          <button type="button" className="link" onClick={() => onDelete(id)}>
            Delete
            <span className="unseen">
              {" "}
              the conversation of <When time={createdAt} />
            </span>
          </button>
        </li>
      ))}
      <More pageInfo={sessions.pageInfo} onMore={onMore}>
        Older ones
      </More>
    </>
  );
}

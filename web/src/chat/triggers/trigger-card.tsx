import { useEffect, useState } from "react";
import { useQuery } from "urql";
import type { User } from "../app";
import { problem } from "../problem";
import { Confirm, Dialog } from "../ui/dialog";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { ACTIVATE, DEACTIVATE, DELETE_TRIGGER, type Trigger, TRIGGER } from "./documents";
import { TriggerForm } from "./trigger-form";

interface Props {
  trigger: Trigger;
  user: User;
  isActive: boolean;
  isPaused: boolean;
}

export function TriggerCard({ trigger, user, isActive, isPaused }: Props) {
  const [task, setTask] = useState<"read" | "edit" | "delete">();
  const deactivate = useAction(DEACTIVATE);
  const remove = useAction(DELETE_TRIGGER);
  const { id, name, description, creator, isPublic } = trigger;
  const isOwn = creator.id === user.id;
  const done = () => setTask(undefined);

  function removeIt() {
    done();
    void remove.run({ id });
  }

  return (
    <li className="card trigger">
      <div className="row spread">
        <h2>{name}</h2>
        {isActive && <span className="tag">{isPaused ? "Active, paused" : "Active"}</span>}
      </div>
      {description && <p dir="auto">{description}</p>}
      <p className="quiet">
        by {isOwn ? "you" : creator.username}
        {isPublic ? "" : ", private"}
      </p>
      <Notice problem={deactivate.problem ?? remove.problem} />
      <div className="row">
        {isActive ? (
          <button
            type="button"
            className="plain"
            disabled={deactivate.isRunning}
            onClick={() => deactivate.run({ id })}
          >
            Deactivate<span className="unseen"> {name}</span>
          </button>
        ) : (
          <button type="button" onClick={() => setTask("read")}>
            Read and activate<span className="unseen"> {name}</span>
          </button>
        )}
        {isActive && (
          <button type="button" className="link" onClick={() => setTask("read")}>
            Read<span className="unseen"> {name}</span>
          </button>
        )}
        {isOwn && (
          <>
            <button type="button" className="link" onClick={() => setTask("edit")}>
              Edit<span className="unseen"> {name}</span>
            </button>
            <button type="button" className="link" onClick={() => setTask("delete")}>
              Delete<span className="unseen"> {name}</span>
            </button>
          </>
        )}
      </div>
      {task === "read" && <Read id={id} name={name} isActive={isActive} onDone={done} />}
      {task === "edit" && <TriggerForm trigger={trigger} onDone={done} />}
      {task === "delete" && (
        <Confirm title={`Delete ${name}?`} action="Delete" onYes={removeIt} onNo={done}>
          It is deactivated for everyone who has it.
        </Confirm>
      )}
    </li>
  );
}

/** Consent is given to what was read, in the revision that was read: so it is shown as it is now. */
function Read({ id, name, isActive, onDone }: { id: string; name: string; isActive: boolean; onDone: () => void }) {
  const [{ data, error, fetching }, reload] = useQuery({
    query: TRIGGER,
    variables: { id },
    requestPolicy: "network-only",
  });
  const activate = useAction(ACTIVATE);
  const trigger = data?.trigger;

  // A revision that is outdated is refused. What there is instead is to be read first.
  useEffect(() => {
    if (activate.problem?.code === "CONFLICT") reload({ requestPolicy: "network-only" });
  }, [activate.problem, reload]);

  async function consent(revision: number) {
    if (await activate.run({ id, revision })) onDone();
  }

  return (
    <Dialog title={trigger?.name ?? name} onClose={onDone}>
      <Notice problem={(error && problem(error)) ?? activate.problem} />
      {trigger ? (
        <>
          <p className="quiet">
            Revision {trigger.revision}, by {trigger.creator.username}
          </p>
          {/* Companions are told it with the text. */}
          {trigger.description && <p dir="auto">{trigger.description}</p>}
          <blockquote tabIndex={0} aria-label="The text" dir="auto">
            {trigger.content}
          </blockquote>
        </>
      ) : (
        fetching && <p role="status">One moment…</p>
      )}
      {isActive ? (
        <button type="button" onClick={onDone}>
          Close
        </button>
      ) : (
        <>
          <p>
            By activating it you consent to companions using this text in their answers to you, when you ask them to use
            your triggers. If its author changes it, it is deactivated until you have read it again. You can deactivate
            it, or pause all, whenever you like.
          </p>
          <div className="row">
            <button
              type="button"
              onClick={() => consent(trigger!.revision)}
              disabled={!trigger || fetching || activate.isRunning}
            >
              I consent, activate it
            </button>
            <button type="button" className="plain" onClick={onDone}>
              Not now
            </button>
          </div>
        </>
      )}
    </Dialog>
  );
}

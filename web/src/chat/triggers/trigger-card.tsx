import { useState } from "react";
import type { User } from "../app";
import { Confirm, Dialog } from "../ui/dialog";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { ACTIVATE, DEACTIVATE, DELETE_TRIGGER, type Trigger } from "./documents";
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
      {description && <p>{description}</p>}
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
      {task === "read" && <Read trigger={trigger} isActive={isActive} onDone={done} />}
      {task === "edit" && <TriggerForm trigger={trigger} onDone={done} />}
      {task === "delete" && (
        <Confirm title={`Delete ${name}?`} action="Delete" onYes={removeIt} onNo={done}>
          It is deactivated for everyone who has it.
        </Confirm>
      )}
    </li>
  );
}

/** Consent is given to what was read, in the revision that was read. */
function Read({ trigger, isActive, onDone }: { trigger: Trigger; isActive: boolean; onDone: () => void }) {
  const { run, isRunning, problem } = useAction(ACTIVATE);
  const { id, name, content, revision, creator } = trigger;

  async function activate() {
    if (await run({ id, revision })) onDone();
  }

  return (
    <Dialog title={name} onClose={onDone}>
      <p className="quiet">
        Revision {revision}, by {creator.username}
      </p>
      <blockquote tabIndex={0} aria-label="The text">
        {content}
      </blockquote>
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
          <Notice problem={problem} />
          {problem?.code === "CONFLICT" && <p>Close this and open it again to read it as it is now.</p>}
          <div className="row">
            <button type="button" onClick={activate} disabled={isRunning}>
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

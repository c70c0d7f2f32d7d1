import { useState } from "react";
import { Confirm } from "../ui/dialog";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { When } from "../ui/when";
import { Deliveries } from "./deliveries";
import { DELETE_WEBHOOK, EVENTS, PING_WEBHOOK, UPDATE_WEBHOOK, type Webhook } from "./documents";

interface Props {
  webhook: Webhook;
  onSecret: (secret: string) => void;
  /** Called when its health is to be looked at again. */
  onLook: () => void;
}

export function WebhookCard({ webhook, onSecret, onLook }: Props) {
  const [task, setTask] = useState<"rotate" | "delete">();
  const [isOpen, setIsOpen] = useState(false);
  const ping = useAction(PING_WEBHOOK);
  const update = useAction(UPDATE_WEBHOOK);
  const remove = useAction(DELETE_WEBHOOK);
  const { id, url, events, isActive, deactivatedReason } = webhook;
  const done = () => setTask(undefined);

  function removeIt() {
    done();
    void remove.run({ id });
  }

  async function rotate() {
    done();
    const secret = newSecret();
    if (await update.run({ id, input: { secret } })) onSecret(secret);
  }

  async function sendPing() {
    if (await ping.run({ id })) setIsOpen(true);
  }

  return (
    <li className="card">
      <div className="row spread">
        <h2 className="url">{url}</h2>
        <span className={`tag ${isActive ? "" : "off"}`}>{isActive ? "Active" : "Off"}</span>
      </div>
      {deactivatedReason && <p className="why">{deactivatedReason}</p>}
      <p>{events.map((kind) => EVENTS[kind] ?? kind).join(", ")}</p>
      <Health webhook={webhook} />
      <Notice problem={ping.problem ?? update.problem ?? remove.problem} />
      <div className="row">
        <button type="button" disabled={ping.isRunning} onClick={sendPing}>
          Send a test event
        </button>
        <button
          type="button"
          className="plain"
          disabled={update.isRunning}
          onClick={() => update.run({ id, input: { isActive: !isActive } })}
        >
          {isActive ? "Switch off" : "Switch on"}
        </button>
        <button type="button" className="plain" onClick={() => setTask("rotate")}>
          New secret
        </button>
        <button type="button" className="plain" onClick={() => setTask("delete")}>
          Delete
        </button>
      </div>
      <details open={isOpen} onToggle={({ currentTarget }) => setIsOpen(currentTarget.open)}>
        <summary>Deliveries</summary>
        {isOpen && <Deliveries id={id} onLook={onLook} />}
      </details>
      {task === "rotate" && (
        <Confirm title="Make a new secret?" action="Make it" onYes={rotate} onNo={done}>
          For 24 hours deliveries are signed with the old one as well, so that you can change it over there in time.
        </Confirm>
      )}
      {task === "delete" && (
        <Confirm title="Delete this webhook?" action="Delete" onYes={removeIt} onNo={done}>
          {url} is told of nothing any more, and its deliveries go too.
        </Confirm>
      )}
    </li>
  );
}

function Health({ webhook: { health } }: { webhook: Webhook }) {
  const { successRate, pending, lastError, nextAttemptAt, failingSince } = health;
  return (
    <dl className="facts">
      <div>
        <dt>Arrived</dt>
        <dd>{successRate == null ? "nothing sent yet" : `${Math.round(100 * successRate)} %`}</dd>
      </div>
      <div>
        <dt>Waiting</dt>
        <dd>{pending}</dd>
      </div>
      {nextAttemptAt && (
        <div>
          <dt>Next attempt</dt>
          <dd>
            <When time={nextAttemptAt} />
          </dd>
        </div>
      )}
      {failingSince && (
        <div>
          <dt>Failing since</dt>
          <dd>
            <When time={failingSince} />
          </dd>
        </div>
      )}
      {lastError && (
        <div>
          <dt>Last error</dt>
          <dd>{lastError}</dd>
        </div>
      )}
    </dl>
  );
}

/** As the server makes them: 32 random bytes in base64. */
function newSecret() {
  return `whsec_${btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))}`;
}

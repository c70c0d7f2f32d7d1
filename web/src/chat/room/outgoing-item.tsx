import { Avatar } from "../ui/avatar";
import type { Outbox, Outgoing } from "./outbox";

interface Props {
  entry: Outgoing;
  outbox: Outbox;
  username: string;
}

/** A message that the server has not acknowledged yet. */
export function OutgoingItem({ entry, outbox, username }: Props) {
  const { nonce, content, isRefused, problem } = entry;
  return (
    <li className={`message outgoing ${isRefused ? "refused" : ""}`}>
      <Avatar name={username} />
      <div className="said">
        <p className="head">
          <b>{username}</b> <span className="quiet">{isRefused ? "not sent" : "sending…"}</span>
        </p>
        <p className="content" dir="auto">{content}</p>
        {problem && (
          <p className="why">
            {problem.message}
            {isRefused ? "" : " It is sent as soon as that is over."}
          </p>
        )}
        {isRefused && (
          <p className="row">
            <button type="button" className="link" onClick={() => outbox.retry(nonce)}>
              Send again
            </button>
            <button type="button" className="link" onClick={() => outbox.discard(nonce)}>
              Discard
            </button>
          </p>
        )}
      </div>
    </li>
  );
}

import { useState } from "react";
import { useQuery } from "urql";
import { problem } from "../problem";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { When } from "../ui/when";
import { DELIVERIES, REDELIVER } from "./documents";

const WORDS = { PENDING: "waiting", DELIVERED: "arrived", FAILED: "given up" };
const LISTS = { additionalTypenames: ["Delivery"] };

/** What was sent and is to be sent, newest first, a page at a time. */
export function Deliveries({ id, onLook }: { id: string; onLook: () => void }) {
  const [cursors, setCursors] = useState<(string | undefined)[]>([undefined]);
  const after = cursors.at(-1);
  const [{ data, error, fetching }, reload] = useQuery({
    query: DELIVERIES,
    variables: { id, after },
    context: LISTS,
    requestPolicy: "cache-and-network",
  });
  const redeliver = useAction(REDELIVER);
  const look = () => {
    reload({ requestPolicy: "network-only" });
    onLook();
  };
  const deliveries = data?.viewer?.webhook?.deliveries;
  if (!deliveries) return error ? <Notice problem={problem(error)} /> : <p role="status">One moment…</p>;
  const { hasNextPage, endCursor } = deliveries.pageInfo;
  return (
    <>
      <Notice problem={(error && problem(error)) ?? redeliver.problem} />
      <ul className="lines">
        {deliveries.nodes.map(({ id, kind, status, attempts, responseStatus, error, nextAttemptAt, createdAt }) => (
          <li key={id}>
            <div className="row spread">
              <span>
                <span className="quiet">
                  <When time={createdAt} />
                </span>{" "}
                <code>{kind.toLowerCase().replace("_", ".")}</code>{" "}
                <b className={status.toLowerCase()}>{WORDS[status]}</b>
              </span>
              {status !== "PENDING" && (
                <button type="button" className="link" onClick={() => redeliver.run({ id })}>
                  Send again
                </button>
              )}
            </div>
            <p className="quiet">
              {attempts === 1 ? "1 attempt" : `${attempts} attempts`}
              {responseStatus && `, answered ${responseStatus}`}
              {error && `, ${error}`}
              {nextAttemptAt && (
                <>
                  , next <When time={nextAttemptAt} />
                </>
              )}
            </p>
          </li>
        ))}
        {deliveries.nodes.length === 0 && <li>There are none yet.</li>}
      </ul>
      <div className="row">
        <button type="button" className="plain" disabled={fetching} onClick={look}>
          Look again
        </button>
        {cursors.length > 1 && (
          <button type="button" className="plain" onClick={() => setCursors(cursors.slice(0, -1))}>
            Newer ones
          </button>
        )}
        {hasNextPage && (
          <button type="button" className="plain" onClick={() => setCursors([...cursors, endCursor!])}>
            Older ones
          </button>
        )}
      </div>
    </>
  );
}

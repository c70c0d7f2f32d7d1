import { useState } from "react";
import { useQuery } from "urql";
import type { ConsentKind } from "../gql/graphql";
import { problem } from "../problem";
import { Notice } from "../ui/notice";
import { When } from "../ui/when";
import { CONSENTS } from "./documents";

const WORDS: Record<ConsentKind, string> = {
  ACTIVATED: "You activated",
  DEACTIVATED: "You deactivated",
  WITHDRAWN: "Its author changed or withdrew",
  PAUSED: "You paused all triggers",
  RESUMED: "You resumed your triggers",
};

/** The receipts, asked for when someone wants to see them. */
export function Consents() {
  const [isOpen, setIsOpen] = useState(false);
  return (
    <details className="card" onToggle={({ currentTarget }) => setIsOpen(currentTarget.open)}>
      <summary>Receipts of your consent</summary>
      {isOpen && <Receipts />}
    </details>
  );
}

function Receipts() {
  const [cursors, setCursors] = useState<(string | undefined)[]>([undefined]);
  return (
    <ul className="lines">
      {cursors.map((after, index) => (
        <Page
          key={after ?? ""}
          after={after}
          onMore={index === cursors.length - 1 ? (cursor) => setCursors([...cursors, cursor]) : undefined}
        />
      ))}
    </ul>
  );
}

function Page({ after, onMore }: { after?: string; onMore?: (cursor: string) => void }) {
  const [{ data, error }] = useQuery({ query: CONSENTS, variables: { after }, requestPolicy: "network-only" });
  const consents = data?.viewer?.consents;
  if (!consents)
    return error ? (
      <li>
        <Notice problem={problem(error)} />
      </li>
    ) : (
      <li role="status">One moment…</li>
    );
  const { hasNextPage, endCursor } = consents.pageInfo;
  return (
    <>
      {consents.nodes.map(({ id, kind, timestamp, trigger, revision }) => (
        <li key={id}>
          <span className="quiet">
            <When time={timestamp} />
          </span>{" "}
          {WORDS[kind]}
          {kind !== "PAUSED" && kind !== "RESUMED" && (
            <>
              {" "}
              {trigger ? <b>{trigger.name}</b> : "a trigger that is gone"}
              {revision ? `, revision ${revision}` : ""}
            </>
          )}
        </li>
      ))}
      {consents.nodes.length === 0 && !after && <li>There are none yet.</li>}
      {hasNextPage && onMore && (
        <li>
          <button type="button" className="plain" onClick={() => onMore(endCursor!)}>
            Older ones
          </button>
        </li>
      )}
    </>
  );
}

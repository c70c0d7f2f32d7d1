import { useState } from "react";
import { useQuery } from "urql";
import type { ConsentKind } from "../gql/graphql";
import { More, Pages, Pending } from "../ui/pages";
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
  return (
    <ul className="lines">
      <Pages page={(after, onMore) => <Page after={after} onMore={onMore} />} />
    </ul>
  );
}

function Page({ after, onMore }: { after?: string; onMore?: (cursor: string) => void }) {
  const [{ data, error }] = useQuery({ query: CONSENTS, variables: { after }, requestPolicy: "network-only" });
  const consents = data?.viewer?.consents;
  if (!consents) return <Pending error={error} />;
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
      <More pageInfo={consents.pageInfo} onMore={onMore}>
        Older ones
      </More>
    </>
  );
}

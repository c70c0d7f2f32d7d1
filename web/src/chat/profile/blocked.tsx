import { useRef } from "react";
import type { ProfileQuery } from "../gql/graphql";
import { UNBLOCK } from "../room/documents";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";

type Blocked = NonNullable<NonNullable<ProfileQuery["viewer"]>["blocked"]>;

/** Whom one has blocked: here alone they can still be found. */
export function BlockedMembers({ blocked, onUnblocked }: { blocked: Blocked; onUnblocked: () => void }) {
  const { run, isRunning, problem } = useAction(UNBLOCK);
  const section = useRef<HTMLElement>(null);

  async function unblock(username: string) {
    if (!(await run({ username }))) return;
    onUnblocked();
    section.current!.focus(); // The button goes.
  }

  return (
    <section className="card" ref={section} tabIndex={-1} aria-labelledby="blocked-heading">
      <h2 id="blocked-heading">Blocked members</h2>
      <Notice problem={problem} />
      <ul className="lines">
        {blocked.map(({ id, username }) => (
          <li key={id} className="row spread">
            {username}
            <button type="button" className="plain" disabled={isRunning} onClick={() => unblock(username)}>
              Unblock<span className="unseen"> {username}</span>
            </button>
          </li>
        ))}
        {blocked.length === 0 && <li className="quiet">You have blocked nobody.</li>}
      </ul>
    </section>
  );
}

// Who is calling decides what is shown: the door, or the house.

import { useEffect, useState } from "react";
import { type Client, Provider } from "urql";
import { backoff, connect, type Connection, pause } from "./connection";
import { graphql } from "./gql";
import type { ViewerQuery } from "./gql/graphql";
import { House } from "./house";
import { isLoggedOut, problem, type Problem } from "./problem";
import { SignIn } from "./sign-in";
import { Moon } from "./ui/icons";
import { Notice } from "./ui/notice";

const VIEWER = graphql(`
  query Viewer {
    viewer {
      user {
        id
        username
        role
      }
    }
  }
`);

export type User = NonNullable<ViewerQuery["viewer"]>["user"];

interface Caller {
  /** Undefined until the server has said who is calling, null where it is nobody. */
  user?: User | null;
  /** Why one waits, or has to log in again. */
  reason?: Problem;
}

export function App() {
  const [{ user, reason }, setCaller] = useState<Caller>({});
  // Who is at the door is told there what was wrong with a login.
  const end = (reason: Problem) => setCaller((caller) => (caller.user ? { user: null, reason } : caller));
  const [connection, setConnection] = useState<Connection>(() => connect(end));

  // Each member gets a new connection: the old one's cache and socket are those of whoever was here before.
  const enter = (next: User | null) => {
    connection.close();
    setConnection(connect(end));
    setCaller({ user: next });
  };

  useEffect(() => {
    const stop = new AbortController();
    const hindered = (reason: Problem) => setCaller({ reason });
    void identify(connection.client, stop.signal, hindered).then((user) => stop.signal.aborted || setCaller({ user }));
    return () => stop.abort();
    // Once: whoever enters or leaves later says so.
  }, []);

  return (
    <Provider value={connection.client}>
      {user ? (
        <House key={user.id} user={user} connection={connection} onLeave={() => enter(null)} />
      ) : user === null ? (
        <SignIn reason={reason} onEnter={enter} />
      ) : (
        <main className="door">
          <h1 className="wordmark">
            <Moon /> BambiSleep.Chat
          </h1>
          {reason ? <Notice problem={reason} /> : <p role="status">One moment…</p>}
        </main>
      )}
    </Provider>
  );
}

/** Who is calling, asked until the server says so. */
async function identify(
  client: Client,
  signal: AbortSignal,
  hindered: (reason: Problem) => void,
): Promise<User | null> {
  // Not as soon as after a lost connection: each time counts towards the budget of an address, which is small.
  for (let attempt = 3; ; attempt++) {
    const { data, error } = await client.query(VIEWER, {}, { requestPolicy: "network-only" }).toPromise();
    if (data?.viewer) return data.viewer.user;
    const reason = problem(error!);
    if (isLoggedOut(reason) || signal.aborted) return null;
    hindered(reason);
    if (reason.retryAfter) await pause(1_000 * reason.retryAfter, signal);
    else await backoff(attempt, signal);
  }
}

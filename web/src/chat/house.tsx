// What members see: the bar, the way between the panels, and the panel that one is in.

import "./house.css";
import { lazy, useEffect, useReducer, useRef, useState, useSyncExternalStore } from "react";
import type { User } from "./app";
import type { Connection } from "./connection";
import { graphql } from "./gql";
import { Outbox } from "./room/outbox";
import { RoomPanel } from "./room/room-panel";
import { Boundary } from "./ui/boundary";
import { Bell, Bubble, Hook, Key, Moon, Person, Spark } from "./ui/icons";
import { Skip } from "./ui/skip";
import { useAction } from "./ui/use-action";
import { useRoute } from "./use-route";

// What is not seen first is fetched when it is looked at.
const CompanionPanel = lazy(() => import("./companion/companion-panel"));
const TriggersPanel = lazy(() => import("./triggers/triggers-panel"));
const ProfilePanel = lazy(() => import("./profile/profile-panel"));
const KeysPanel = lazy(() => import("./keys/keys-panel"));
const WebhooksPanel = lazy(() => import("./webhooks/webhooks-panel"));

const ROOMS = { path: "room", name: "Rooms", Icon: Bubble };
const PANELS = [
  ROOMS,
  { path: "companion", name: "Companion", Icon: Spark },
  { path: "triggers", name: "Triggers", Icon: Bell },
  { path: "profile", name: "Profile", Icon: Person },
  { path: "keys", name: "Keys", Icon: Key },
  { path: "webhooks", name: "Webhooks", Icon: Hook },
];

const LOG_OUT = graphql(`
  mutation LogOut {
    logout {
      success
    }
  }
`);

interface Props {
  user: User;
  connection: Connection;
  onLeave: () => void;
}

export function House({ user, connection, onLeave }: Props) {
  const route = useRoute();
  const { path: panel, name } = PANELS.find(({ path }) => path === route[0]) ?? ROOMS;
  const [room, setRoom] = useState("lobby");
  if (panel === "room" && route[1] && route[1] !== room) setRoom(route[1]);
  const [hasCompanion, setHasCompanion] = useState(false);
  if (panel === "companion" && !hasCompanion) setHasCompanion(true);
  const [unread, setUnread] = useState(0);
  // The room is read anew for who sees more of it now.
  const [unblocked, onUnblocked] = useReducer((times: number) => times + 1, 0);
  const main = useFocusOnChange(panel);
  useTitle(`${unread > 0 ? `(${unread}) ` : ""}${panel === "room" ? `#${room}` : name}`);
  const logOut = useAction(LOG_OUT);

  const [outbox] = useState(() => new Outbox(connection.client, `outbox of ${user.id}`));
  useEffect(() => () => outbox.close(), [outbox]);

  async function leave() {
    if (await logOut.run({})) onLeave();
  }

  return (
    <div className="house">
      <Skip to="content">Skip to content</Skip>
      <header className="bar">
        <a className="wordmark" href="/">
          <Moon /> <span>BambiSleep.Chat</span>
        </a>
        <nav aria-label="Panels" className="panels">
          {PANELS.map(({ path, name, Icon }) => (
            <a key={path} href={`#${path}`} aria-current={path === panel ? "page" : undefined}>
              <Icon /> {name}
              {path === "room" && unread > 0 && (
                <span className="badge">
                  <span className="unseen">, new messages: </span>
                  {unread}
                </span>
              )}
            </a>
          ))}
        </nav>
        <div className="me">
          <ConnectionState connection={connection} />
          <span className="name">{user.username}</span>
          <button type="button" className="plain" onClick={leave} disabled={logOut.isRunning}>
            Log out
          </button>
        </div>
      </header>
      <main id="content" ref={main} tabIndex={-1}>
        {/* Always there, so that nothing said meanwhile is missed. */}
        <RoomPanel
          key={`${room} ${unblocked}`}
          room={room}
          user={user}
          outbox={outbox}
          isShown={panel === "room"}
          onUnread={setUnread}
          onUnblocked={onUnblocked}
        />
        {/* Stays once it was opened: an answer that is on its way ends with whoever waits for it. */}
        {hasCompanion && (
          <Boundary isShown={panel === "companion"}>
            <CompanionPanel isShown={panel === "companion"} />
          </Boundary>
        )}
        <Boundary key={panel}>
          {panel === "triggers" && <TriggersPanel user={user} />}
          {panel === "profile" && <ProfilePanel user={user} onUnblocked={onUnblocked} />}
          {panel === "keys" && <KeysPanel />}
          {panel === "webhooks" && <WebhooksPanel />}
        </Boundary>
      </main>
    </div>
  );
}

function ConnectionState({ connection }: { connection: Connection }) {
  const status = useSyncExternalStore(connection.onStatus, connection.status);
  const words = { live: "Live", connecting: "Connecting…", offline: "Offline" };
  return (
    <span role="status" className={`state ${status}`}>
      {words[status]}
    </span>
  );
}

/** What the tab of the browser says, until one leaves. */
function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · BambiSleep.Chat`;
  }, [title]);
  useEffect(() => () => void (document.title = "Chat · BambiSleep.Chat"), []);
}

/** Someone who comes in, or goes to another panel, goes on from its beginning. */
function useFocusOnChange(panel: string) {
  const ref = useRef<HTMLElement>(null);
  useEffect(() => ref.current!.focus(), [panel]);
  return ref;
}

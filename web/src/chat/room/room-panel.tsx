import "../ui/talk.css";
import "./room.css";
import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import type { User } from "../app";
import { Notice } from "../ui/notice";
import { Skip } from "../ui/skip";
import { Composer } from "./composer";
import type { Message } from "./documents";
import { MessageList } from "./message-list";
import type { Outbox } from "./outbox";
import { People } from "./people";
import { Rooms } from "./rooms";
import { KEPT } from "./timeline";
import { useRoom } from "./use-room";
import { useUnread, useVisible } from "./use-unread";

interface Props {
  room: string;
  user: User;
  outbox: Outbox;
  isShown: boolean;
  onUnread: (unread: number) => void;
  onUnblocked: () => void;
}

export function RoomPanel({ room, user, outbox, isShown, onUnread, onUnblocked }: Props) {
  const { timeline, hindrance, tell, loadEarlier } = useRoom(room);
  const [isAtEnd, setIsAtEnd] = useState(true);
  const isLooking = useVisible() && isShown && isAtEnd;
  const { unread, divider } = useUnread(room, timeline.messages, isLooking, user.username);

  useEffect(() => {
    outbox.onSent = (sentTo, message) => sentTo === room && tell({ type: "message", message });
  }, [outbox, room, tell]);
  const outgoing = useSyncExternalStore(outbox.subscribe, outbox.entries).filter((entry) => entry.room === room);

  useEffect(() => onUnread(unread), [onUnread, unread]);

  useEffect(() => {
    if (isAtEnd && timeline.messages.length > KEPT) tell({ type: "shortened" });
  }, [isAtEnd, timeline.messages, tell]);

  const onChanged = useCallback((message: Message) => tell({ type: "message", message }), [tell]);
  const typing = Object.keys(timeline.typing).filter((username) => username !== user.username);
  return (
    <div className="room" hidden={!isShown}>
      <Rooms current={room} />
      <section className="talk" aria-labelledby="room-name">
        <header>
          <h1 id="room-name">#{room}</h1>
          <button type="button" className="plain narrow" popoverTarget="rooms">
            Rooms
          </button>
          <button type="button" className="plain narrow" popoverTarget="people">
            Here: {timeline.members.length}
          </button>
        </header>
        <Notice problem={hindrance?.code === "OFFLINE" ? undefined : hindrance} />
        <Skip to="message">Skip to writing</Skip>
        <MessageList
          timeline={timeline}
          outgoing={outgoing}
          outbox={outbox}
          user={user}
          divider={divider}
          unread={unread}
          onChanged={onChanged}
          onEarlier={loadEarlier}
          onAtEnd={setIsAtEnd}
        />
        <p className="typing" aria-live="off">
          {whoTypes(typing)}
        </p>
        <Composer
          room={room}
          username={user.username}
          onSend={(content) => outbox.send(room, content, timeline.messages.at(-1)?.number ?? 0)}
        />
      </section>
      <People
        members={timeline.members}
        typing={typing}
        username={user.username}
        onBlocked={(username) => tell({ type: "blocked", username })}
        onUnblocked={onUnblocked}
      />
    </div>
  );
}

function whoTypes(usernames: string[]) {
  if (usernames.length === 0) return "";
  if (usernames.length > 3) return "Several members are typing…";
  return `${new Intl.ListFormat("en").format(usernames)} ${usernames.length === 1 ? "is" : "are"} typing…`;
}

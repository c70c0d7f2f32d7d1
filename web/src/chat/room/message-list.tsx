import { Fragment, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { User } from "../app";
import type { Problem } from "../problem";
import { Down, Moon } from "../ui/icons";
import { Notice } from "../ui/notice";
import { useEnd } from "../ui/use-end";
import type { Message } from "./documents";
import { MessageItem } from "./message-item";
import type { Outbox, Outgoing } from "./outbox";
import { OutgoingItem } from "./outgoing-item";
import type { Timeline } from "./timeline";

/** How near to the beginning what was said before it is loaded, in pixels. */
const NEAR = 80;
/** After how long the author's name is shown again, in milliseconds. */
const PAUSE = 5 * 60_000;

interface Props {
  timeline: Timeline;
  outgoing: Outgoing[];
  outbox: Outbox;
  user: User;
  divider: number;
  unread: number;
  onChanged: (message: Message) => void;
  onEarlier: () => Promise<Problem | undefined>;
  onAtEnd: (isAtEnd: boolean) => void;
}

export function MessageList({
  timeline,
  outgoing,
  outbox,
  user,
  divider,
  unread,
  onChanged,
  onEarlier,
  onAtEnd,
}: Props) {
  const { messages, hasEarlier, isOpen } = timeline;
  const { scroller, list, isAtEnd, look } = useEnd();
  const [isLoading, setIsLoading] = useState(false);
  const [problem, setProblem] = useState<Problem>();

  async function loadEarlier() {
    setIsLoading(true);
    setProblem(await onEarlier());
    setIsLoading(false);
  }

  function scrolled() {
    look();
    onAtEnd(isAtEnd.current);
    if (scroller.current!.scrollTop < NEAR && hasEarlier && !isLoading && !problem) void loadEarlier();
  }

  // What comes on top must not move what one reads: the distance to the end stays.
  const first = messages[0]?.number;
  const shown = useRef({ first, height: 0 });
  useLayoutEffect(() => {
    const element = scroller.current!;
    const isEarlier = first !== undefined && shown.current.first !== undefined && first < shown.current.first;
    if (isEarlier) element.scrollTop += element.scrollHeight - shown.current.height;
    else if (isAtEnd.current) element.scrollTop = element.scrollHeight;
    shown.current = { first, height: element.scrollHeight };
  });

  function toEnd() {
    scroller.current!.scrollTop = scroller.current!.scrollHeight;
    scroller.current!.focus();
  }

  const underway = outgoing.find(({ isRefused }) => !isRefused);
  const pending = outgoing.filter((entry) => entry !== underway || !hasArrived(entry, messages, user));
  return (
    <div className="messages">
      <div className="scroller" ref={scroller} onScroll={scrolled} role="region" aria-label="Messages" tabIndex={0}>
        {hasEarlier && (
          <button type="button" className="plain earlier" onClick={loadEarlier} disabled={isLoading}>
            {isLoading ? "Loading…" : "Earlier messages"}
          </button>
        )}
        <Notice problem={problem} />
        {isOpen && messages.length === 0 && pending.length === 0 && (
          <p className="empty">
            <Moon /> Nothing has been said here yet. Be the first.
          </p>
        )}
        <ol ref={list}>
          {messages.map((message, index) => {
            const before = messages[index - 1];
            const isFirstNew = message.number > divider && (!before || before.number <= divider);
            const isNewDay = !before || day(before.timestamp) !== day(message.timestamp);
            return (
              <Fragment key={message.id}>
                {isNewDay && (
                  <li className="divider">
                    <span>{day(message.timestamp)}</span>
                  </li>
                )}
                {isFirstNew && (
                  <li className="divider new">
                    <span>New</span>
                  </li>
                )}
                <MessageItem
                  message={message}
                  user={user}
                  onChanged={onChanged}
                  isContinued={!isNewDay && !isFirstNew && continues(before, message)}
                />
              </Fragment>
            );
          })}
          {pending.map((entry) => (
            <OutgoingItem key={entry.nonce} entry={entry} outbox={outbox} username={user.username} />
          ))}
        </ol>
      </div>
      {unread > 0 && !isAtEnd.current && (
        <button type="button" className="to-end" onClick={toEnd}>
          <Down /> {unread} new
        </button>
      )}
      <Announcer timeline={timeline} username={user.username} />
    </div>
  );
}

/** Reads out what others say, and not what was loaded from before. */
function Announcer({ timeline: { isOpen, messages }, username }: { timeline: Timeline; username: string }) {
  const [news, setNews] = useState("");
  const heard = useRef(Infinity);
  const last = messages.at(-1);
  useEffect(() => {
    const isNews = last && last.number > heard.current && last.author.username !== username;
    if (isNews) setNews(`${last.author.username}: ${last.content}`);
    if (isOpen) heard.current = last?.number ?? 0;
  }, [isOpen, last, username]);
  return (
    <p className="unseen" role="status">
      {news}
    </p>
  );
}

/** Whether what is still to be acknowledged is there already: the answer may be lost, or later than the message. */
function hasArrived({ content, above }: Outgoing, messages: Message[], { id }: User) {
  return messages.some((message) => message.author.id === id && message.number > above && message.content === content);
}

function continues(before: Message | undefined, message: Message) {
  const isSoon = before && Date.parse(message.timestamp) - Date.parse(before.timestamp) < PAUSE;
  return isSoon && before.author.id === message.author.id;
}

const DAY = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

function day(time: string) {
  return DAY.format(new Date(time));
}

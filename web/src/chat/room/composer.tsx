import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from "react";
import { Send } from "../ui/icons";
import { Typing } from "./typing";

/** How many characters a message may have. */
export const LONGEST = 4_000;

interface Props {
  room: string;
  username: string;
  onSend: (content: string) => void;
}

/** What is being written is kept until it is sent, over reloads too. */
export function Composer({ room, username, onSend }: Props) {
  const storageKey = `draft for ${room} by ${username}`;
  const [draft, setDraft] = useState(() => localStorage.getItem(storageKey) ?? "");
  const [typing] = useState(() => new Typing(room));
  useEffect(() => () => typing.close(), [typing]);
  const area = useRef<HTMLTextAreaElement>(null);

  function keep(text: string) {
    setDraft(text);
    if (text) localStorage.setItem(storageKey, text);
    else localStorage.removeItem(storageKey);
  }

  // As the server will have it, so that the message is known when it comes back.
  const content = draft.trim().normalize("NFC");
  const left = LONGEST - [...content].length;
  const canSend = content !== "" && left >= 0;

  function send(event: FormEvent | KeyboardEvent) {
    event.preventDefault();
    if (!canSend) return;
    onSend(content);
    keep("");
    typing.close();
    area.current!.focus(); // The button is of no use now.
  }

  return (
    <form className="composer" onSubmit={send}>
      <label className="unseen" htmlFor="message">
        Message to #{room}
      </label>
      <textarea
        id="message"
        ref={area}
        rows={1}
        dir="auto"
        value={draft}
        placeholder="Write a message"
        enterKeyHint="send"
        aria-describedby="message-hint"
        aria-invalid={left < 0 || undefined}
        onChange={({ target }) => {
          keep(target.value);
          if (target.value) typing.tell();
        }}
        onKeyDown={(event) => event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing && send(event)}
      />
      <button disabled={!canSend}>
        <Send /> Send
      </button>
      <span id="message-hint" className={left < 200 ? "hint count" : "hint"}>
        {left < 200
          ? left < 0
            ? `${-left} characters too many`
            : `${left} characters left`
          : "Enter sends, Shift and Enter begins a new line"}
      </span>
    </form>
  );
}

import { useState } from "react";
import { Avatar } from "../ui/avatar";
import { MemberCard } from "./member-card";
import type { Member } from "./timeline";

interface Props {
  members: Member[];
  typing: string[];
  username: string;
  onBlocked: (username: string) => void;
  onUnblocked: () => void;
}

/** Who is in the room now. Over the page on narrow screens, as the list of rooms. */
export function People({ members, typing, username, onBlocked, onUnblocked }: Props) {
  const [opened, setOpened] = useState<string>();
  return (
    <aside id="people" className="side" popover="auto" aria-labelledby="people-heading">
      <h2 id="people-heading">
        Here now <span className="quiet">{members.length}</span>
      </h2>
      <ul>
        {members.map((member) => (
          <li key={member.id}>
            <button type="button" className="person" onClick={() => setOpened(member.username)}>
              <Avatar name={member.username} />
              <span>
                {member.username}
                {member.username === username && <span className="quiet"> (you)</span>}
                {typing.includes(member.username) && <span className="quiet"> typing…</span>}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {opened && (
        <MemberCard
          username={opened}
          isSelf={opened === username}
          onBlocked={() => onBlocked(opened)}
          onUnblocked={onUnblocked}
          onClose={() => setOpened(undefined)}
        />
      )}
    </aside>
  );
}

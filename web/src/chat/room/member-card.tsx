import { useQuery } from "urql";
import { graphql } from "../gql";
import { problem } from "../problem";
import { Avatar } from "../ui/avatar";
import { Dialog } from "../ui/dialog";
import { Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { BLOCK, UNBLOCK } from "./documents";

const MEMBER = graphql(`
  query Member($username: String!) {
    profile(username: $username) {
      id
      displayName
      avatarUrl
      xp
      level
      triggers {
        id
        name
      }
    }
    viewer {
      blocked {
        id
        username
      }
    }
  }
`);

interface Props {
  username: string;
  isSelf: boolean;
  onBlocked: () => void;
  onUnblocked: () => void;
  onClose: () => void;
}

export function MemberCard({ username, isSelf, onBlocked, onUnblocked, onClose }: Props) {
  const [{ data, error, fetching }, reload] = useQuery({
    query: MEMBER,
    variables: { username },
    requestPolicy: "cache-and-network",
  });
  const block = useAction(BLOCK);
  const unblock = useAction(UNBLOCK);
  const isBlocked = data?.viewer?.blocked?.some((blocked) => blocked.username === username);
  const profile = data?.profile;

  async function toggle() {
    const done = await (isBlocked ? unblock : block).run({ username });
    if (done) (isBlocked ? onUnblocked : onBlocked)();
    reload({ requestPolicy: "network-only" });
  }

  return (
    <Dialog title={username} onClose={onClose}>
      {fetching && !data && <p role="status">One moment…</p>}
      {profile ? (
        <>
          <p className="row">
            <Avatar name={username} url={profile.avatarUrl} /> <b>{profile.displayName}</b>
          </p>
          <p>
            Level {profile.level}, {profile.xp} XP
          </p>
          {profile.triggers.length > 0 && <p>Opted in to {profile.triggers.map(({ name }) => name).join(", ")}</p>}
        </>
      ) : (
        !isBlocked && <Notice problem={error && problem(error)} />
      )}
      {isBlocked && <p>You have blocked {username}: you see nothing of what they say.</p>}
      <Notice problem={block.problem ?? unblock.problem} />
      <div className="row">
        <button type="button" onClick={onClose}>
          Close
        </button>
        {!isSelf && (
          <button type="button" className="plain" onClick={toggle} disabled={block.isRunning || unblock.isRunning}>
            {isBlocked ? "Unblock" : "Block"}
          </button>
        )}
      </div>
    </Dialog>
  );
}

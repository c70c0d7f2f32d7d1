import "./profile.css";
import { type ChangeEvent, type FormEvent, useState } from "react";
import { useQuery } from "urql";
import type { User } from "../app";
import { graphql } from "../gql";
import type { ProfileQuery } from "../gql/graphql";
import { problem } from "../problem";
import { Avatar } from "../ui/avatar";
import { Check, Field } from "../ui/field";
import { FormNotice, Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { BlockedMembers } from "./blocked";

const PROFILE = graphql(`
  query Profile {
    viewer {
      email
      blocked {
        id
        username
      }
      profile {
        id
        username
        displayName
        avatarUrl
        isPublic
        xp
        level
        createdAt
        triggers {
          id
          name
        }
      }
    }
  }
`);

const UPDATE_PROFILE = graphql(`
  mutation UpdateProfile($username: String!, $input: UpdateProfileInput!) {
    updateProfile(username: $username, input: $input) {
      profile {
        id
      }
    }
  }
`);

const UPLOAD_AVATAR = graphql(`
  mutation UploadAvatar($file: Upload!) {
    uploadAvatar(file: $file) {
      profile {
        id
      }
    }
  }
`);

// An empty list of blocked members names no type by which the cache could know that there is something new for it.
const LISTS = { additionalTypenames: ["User"] };

type Profile = NonNullable<ProfileQuery["viewer"]>["profile"];

export default function ProfilePanel({ user, onUnblocked }: { user: User; onUnblocked: () => void }) {
  const [{ data, error }] = useQuery({ query: PROFILE, context: LISTS, requestPolicy: "cache-and-network" });
  const profile = data?.viewer?.profile;
  return (
    <div className="page">
      <h1>Profile</h1>
      <Notice problem={error && problem(error)} />
      {profile && (
        <>
          <section className="card who" aria-label="You">
            <Avatar name={user.username} url={profile.avatarUrl} />
            <div>
              <h2>{profile.displayName}</h2>
              <p className="quiet">
                @{profile.username}, here since {new Date(profile.createdAt).toLocaleDateString()}
                {data.viewer?.email ? `, ${data.viewer.email}` : ""}
              </p>
              <Level xp={profile.xp} level={profile.level} />
              {profile.triggers.length > 0 && (
                <p>
                  Opted in to <a href="#triggers">{profile.triggers.map(({ name }) => name).join(", ")}</a>
                </p>
              )}
            </div>
          </section>
          <Edit profile={profile} />
          <Picture profile={profile} />
          <BlockedMembers blocked={data.viewer?.blocked ?? []} onUnblocked={onUnblocked} />
        </>
      )}
    </div>
  );
}

/** Level n begins at 50·n² XP; the first one at 0. */
function Level({ xp, level }: { xp: number; level: number }) {
  const from = level === 1 ? 0 : 50 * level ** 2;
  const to = 50 * (level + 1) ** 2;
  return (
    <p className="level">
      <span>
        <b>Level {level}</b>{" "}
        <span className="quiet">
          {xp} XP, {to - xp} to level {level + 1}
        </span>
      </span>
      <progress max={to - from} value={xp - from} aria-label={`On the way to level ${level + 1}`} />
    </p>
  );
}

function Edit({ profile }: { profile: Profile }) {
  const { run, isRunning, problem } = useAction(UPDATE_PROFILE);
  const [isSaved, setIsSaved] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    setIsSaved(false);
    const form = new FormData(event.currentTarget);
    const input = { displayName: String(form.get("displayName")), isPublic: form.has("isPublic") };
    setIsSaved((await run({ username: profile.username, input })) !== undefined);
  }

  return (
    <form className="card" onSubmit={submit} onChange={() => setIsSaved(false)}>
      <h2>What others see</h2>
      <Field
        label="Display name"
        name="displayName"
        defaultValue={profile.displayName}
        required
        maxLength={64}
        problem={problem}
      />
      <Check
        label="My profile is public"
        name="isPublic"
        defaultChecked={profile.isPublic}
        problem={problem}
        hint="If not, only you and moderators see it. What you say in rooms is seen by everyone there either way."
      />
      <FormNotice problem={problem} />
      <div className="row">
        <button disabled={isRunning}>Save</button>
        <span role="status">{isSaved ? "Saved." : ""}</span>
      </div>
    </form>
  );
}

function Picture({ profile }: { profile: Profile }) {
  const upload = useAction(UPLOAD_AVATAR);
  const update = useAction(UPDATE_PROFILE);

  function choose({ target }: ChangeEvent<HTMLInputElement>) {
    const file = target.files?.[0];
    if (file) void upload.run({ file });
    target.value = "";
  }

  return (
    <section className="card" aria-labelledby="picture-heading">
      <h2 id="picture-heading">Picture</h2>
      <Field
        label="Choose a picture"
        name="file"
        type="file"
        accept="image/png,image/jpeg,image/webp"
        onChange={choose}
        hint="PNG, JPEG or WebP, up to 5 MiB. It is kept at most 512 pixels wide and high."
        problem={upload.problem}
      />
      {upload.isRunning && <p role="status">Uploading…</p>}
      <FormNotice problem={upload.problem ?? update.problem} />
      {profile.avatarUrl && (
        <button
          type="button"
          className="plain"
          disabled={update.isRunning}
          onClick={() => update.run({ username: profile.username, input: { avatarUrl: null } })}
        >
          Take it away
        </button>
      )}
    </section>
  );
}

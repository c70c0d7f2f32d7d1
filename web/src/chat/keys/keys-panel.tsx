import { type FormEvent, useState } from "react";
import { useQuery } from "urql";
import { graphql } from "../gql";
import type { Scope } from "../gql/graphql";
import { problem } from "../problem";
import { Checks } from "../ui/checks";
import { Confirm } from "../ui/dialog";
import { Field } from "../ui/field";
import { FormNotice, Notice } from "../ui/notice";
import { Secret } from "../ui/secret";
import { useAction } from "../ui/use-action";
import { When } from "../ui/when";

const KEYS = graphql(`
  query Keys {
    viewer {
      apiKeys {
        id
        name
        prefix
        scopes
        createdAt
        lastUsedAt
        expiresAt
      }
    }
  }
`);

const CREATE_KEY = graphql(`
  mutation CreateKey($input: CreateApiKeyInput!) {
    createApiKey(input: $input) {
      key
      apiKey {
        id
      }
    }
  }
`);

const REVOKE_KEY = graphql(`
  mutation RevokeKey($id: ID!) {
    revokeApiKey(id: $id) {
      apiKey {
        id
      }
    }
  }
`);

const SCOPES: Record<Scope, string> = {
  PROFILE_READ: "Read profiles",
  PROFILE_WRITE: "Change my profile",
  TRIGGERS_READ: "Read triggers",
  TRIGGERS_WRITE: "Write and activate triggers",
  AI_GENERATE: "Ask companions",
  SESSIONS_READ: "Read conversations",
  SESSIONS_WRITE: "Delete conversations",
  CHAT_READ: "Read rooms",
  CHAT_WRITE: "Send messages",
  WEBHOOKS_READ: "Read webhooks",
  WEBHOOKS_WRITE: "Make and change webhooks",
  EVENTS_READ: "Read the event log",
  MODERATE: "Moderate, as far as my role goes",
};

/** After how many days a key may end. */
const ENDS = [30, 90, 365];
const DAY = 24 * 60 * 60_000;

// An empty list names no type by which the cache could know that there is something new for it.
const LISTS = { additionalTypenames: ["ApiKey"] };

export default function KeysPanel() {
  const [{ data, error }] = useQuery({ query: KEYS, context: LISTS, requestPolicy: "cache-and-network" });
  const create = useAction(CREATE_KEY);
  const revoke = useAction(REVOKE_KEY);
  const [secret, setSecret] = useState<string>();
  const [revoking, setRevoking] = useState<{ id: string; name: string }>();
  const keys = data?.viewer?.apiKeys;

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const element = event.currentTarget;
    const form = new FormData(element);
    const days = Number(form.get("expiresAt"));
    const made = await create.run({
      input: {
        name: String(form.get("name")),
        scopes: form.getAll("scopes") as Scope[],
        expiresAt: days ? new Date(Date.now() + days * DAY).toISOString() : undefined,
      },
    });
    if (!made?.createApiKey) return;
    element.reset();
    setSecret(made.createApiKey.key);
  }

  return (
    <div className="page">
      <h1>API keys</h1>
      <p className="lead">
        A key is for a program that acts as you, within its scopes: <code>Authorization: Bearer bsc_…</code>
      </p>
      <Notice problem={(error && problem(error)) ?? revoke.problem} />
      {secret && <Secret label="Your new key" value={secret} onDone={() => setSecret(undefined)} />}
      <ul className="cards">
        {keys?.map(({ id, name, prefix, scopes, createdAt, lastUsedAt, expiresAt }) => (
          <li key={id} className="card">
            <div className="row spread">
              <h2>{name}</h2>
              <button type="button" className="plain" onClick={() => setRevoking({ id, name })}>
                Revoke<span className="unseen"> {name}</span>
              </button>
            </div>
            <p>
              <code>{prefix}…</code>
            </p>
            <p>{scopes.map((scope) => SCOPES[scope]).join(", ")}</p>
            <p className="quiet">
              Made <When time={createdAt} />,{" "}
              {lastUsedAt ? (
                <>
                  last used <When time={lastUsedAt} />
                </>
              ) : (
                "never used"
              )}
              ,{" "}
              {expiresAt ? (
                <>
                  ends <When time={expiresAt} />
                </>
              ) : (
                "does not end"
              )}
            </p>
          </li>
        ))}
        {keys?.length === 0 && <li className="empty">You have none.</li>}
      </ul>
      <form className="card" onSubmit={submit}>
        <h2>New key</h2>
        <Field
          label="Name"
          name="name"
          required
          maxLength={64}
          hint="To tell it from others."
          problem={create.problem}
        />
        <Checks legend="What it may do" name="scopes" values={SCOPES} problem={create.problem} />
        <div className="field">
          <label htmlFor="ends">It ends</label>
          <select id="ends" name="expiresAt" defaultValue="90">
            {ENDS.map((days) => (
              <option key={days} value={days}>
                in {days} days
              </option>
            ))}
            <option value="0">never</option>
          </select>
        </div>
        <FormNotice problem={create.problem} />
        <button disabled={create.isRunning}>Create</button>
      </form>
      {revoking && (
        <Confirm
          title={`Revoke ${revoking.name}?`}
          action="Revoke"
          onNo={() => setRevoking(undefined)}
          onYes={() => {
            setRevoking(undefined);
            void revoke.run({ id: revoking.id });
          }}
        >
          Programs that use it are turned away from now on.
        </Confirm>
      )}
    </div>
  );
}

import "./webhooks.css";
import { type FormEvent, useState } from "react";
import { useQuery } from "urql";
import type { EventKind } from "../gql/graphql";
import { problem } from "../problem";
import { Checks } from "../ui/checks";
import { Field } from "../ui/field";
import { FormNotice, Notice } from "../ui/notice";
import { Secret } from "../ui/secret";
import { useAction } from "../ui/use-action";
import { CREATE_WEBHOOK, EVENTS, WEBHOOKS } from "./documents";
import { WebhookCard } from "./webhook-card";

// An empty list names no type by which the cache could know that there is something new for it.
const LISTS = { additionalTypenames: ["Webhook"] };

export default function WebhooksPanel() {
  const [{ data, error }, reload] = useQuery({ query: WEBHOOKS, context: LISTS, requestPolicy: "cache-and-network" });
  const create = useAction(CREATE_WEBHOOK);
  const [secret, setSecret] = useState<string>();
  const webhooks = data?.viewer?.webhooks?.nodes;

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const element = event.currentTarget;
    const form = new FormData(element);
    const made = await create.run({
      input: { url: String(form.get("url")), events: form.getAll("events") as EventKind[] },
    });
    if (!made?.createWebhook) return;
    element.reset();
    setSecret(made.createWebhook.secret ?? undefined);
  }

  return (
    <div className="page">
      <h1>Webhooks</h1>
      <p className="lead">
        A server of yours is told of what happens here, as far as you may see it: signed, in order, at least once.
      </p>
      <Notice problem={error && problem(error)} />
      {secret && <Secret label="Your new secret" value={secret} onDone={() => setSecret(undefined)} />}
      <ul className="cards">
        {webhooks?.map((webhook) => (
          <WebhookCard
            key={webhook.id}
            webhook={webhook}
            onSecret={setSecret}
            onLook={() => reload({ requestPolicy: "network-only" })}
          />
        ))}
        {webhooks?.length === 0 && <li className="empty">You have none.</li>}
      </ul>
      <form className="card" onSubmit={submit}>
        <h2>New webhook</h2>
        <Field
          label="URL"
          name="url"
          type="url"
          required
          maxLength={2_048}
          placeholder="https://"
          hint="https, and no address of a private network."
          problem={create.problem}
        />
        <Checks
          legend="What it is told of"
          name="events"
          values={EVENTS as Record<EventKind, string>}
          checked={["MESSAGE_NEW"]}
          problem={create.problem}
        />
        <FormNotice problem={create.problem} />
        <button disabled={create.isRunning}>Create</button>
      </form>
    </div>
  );
}

import type { FormEvent } from "react";
import { Dialog } from "../ui/dialog";
import { Check, Field, TextField } from "../ui/field";
import { FormNotice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { CREATE_TRIGGER, type Trigger, UPDATE_TRIGGER } from "./documents";

/** Writes a trigger, or changes one that is there. */
export function TriggerForm({ trigger, onDone }: { trigger?: Trigger; onDone: () => void }) {
  const create = useAction(CREATE_TRIGGER);
  const update = useAction(UPDATE_TRIGGER);
  const problem = create.problem ?? update.problem;

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const input = {
      name: String(form.get("name")),
      description: String(form.get("description")),
      content: String(form.get("content")),
      isPublic: form.has("isPublic"),
    };
    const done = trigger ? await update.run({ id: trigger.id, input }) : await create.run({ input });
    if (done) onDone();
  }

  return (
    <Dialog title={trigger ? `Edit ${trigger.name}` : "Write a trigger"} onClose={onDone}>
      <form onSubmit={submit}>
        <Field label="Name" name="name" required maxLength={64} defaultValue={trigger?.name} problem={problem} />
        <Field
          label="Description"
          name="description"
          maxLength={500}
          defaultValue={trigger?.description}
          hint="What it is for. Companions are told it too."
          problem={problem}
        />
        <TextField
          label="Text"
          name="content"
          required
          maxLength={2_000}
          rows={5}
          defaultValue={trigger?.content}
          hint="What companions use. Everyone who may see the trigger may read it."
          problem={problem}
        />
        <Check
          label="Share it: others may see and activate it"
          name="isPublic"
          defaultChecked={trigger?.isPublic}
          problem={problem}
        />
        {trigger && (
          <p className="quiet">A new name or text deactivates it for everyone else, until they have read it again.</p>
        )}
        <FormNotice problem={problem} />
        <div className="row">
          <button disabled={create.isRunning || update.isRunning}>{trigger ? "Save" : "Write it"}</button>
          <button type="button" className="plain" onClick={onDone}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

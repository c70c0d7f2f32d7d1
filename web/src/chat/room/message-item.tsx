import { type FormEvent, memo, useEffect, useRef, useState } from "react";
import type { User } from "../app";
import { Avatar } from "../ui/avatar";
import { Confirm, Dialog } from "../ui/dialog";
import { TextField } from "../ui/field";
import { Dots } from "../ui/icons";
import { Linked } from "../ui/linked";
import { FormNotice, Notice } from "../ui/notice";
import { useAction } from "../ui/use-action";
import { When } from "../ui/when";
import { LONGEST } from "./composer";
import { DELETE_MESSAGE, EDIT_MESSAGE, type Message, REPORT_MESSAGE } from "./documents";

interface Props {
  message: Message;
  user: User;
  /** Whether it goes on from the message above, by the same author. */
  isContinued?: boolean;
  onChanged: (message: Message) => void;
}

export const MessageItem = memo(function MessageItem({ message, user, isContinued, onChanged }: Props) {
  const [task, setTask] = useState<"edit" | "delete" | "report">();
  const [isOpen, setIsOpen] = useState(false);
  const remove = useAction(DELETE_MESSAGE);
  const { author, content, deletedAt, editedAt, timestamp } = message;
  const isOwn = author.id === user.id;
  const done = () => setTask(undefined);

  // What had the focus is gone then.
  const item = useRef<HTMLLIElement>(null);
  const edited = () => {
    done();
    item.current!.focus();
  };

  async function deleteIt() {
    done();
    const data = await remove.run({ id: message.id });
    if (!data?.deleteMessage) return;
    onChanged(data.deleteMessage.message);
    item.current!.focus();
  }

  return (
    <li ref={item} tabIndex={-1} className={`message ${isContinued ? "continued" : ""} ${isOwn ? "own" : ""}`}>
      {isContinued ? <span className="avatar" aria-hidden="true" /> : <Avatar name={author.username} />}
      <div className="said">
        <p className={isContinued ? "unseen" : "head"}>
          <b>{author.username}</b>{" "}
          <span className="quiet">
            <When time={timestamp} />
          </span>
        </p>
        {deletedAt ? (
          <p className="content quiet">This message was deleted.</p>
        ) : task === "edit" ? (
          <Edit message={message} onChanged={onChanged} onDone={edited} />
        ) : (
          <p className="content" dir="auto">
            <Linked text={content} />
            {editedAt && <span className="quiet"> (edited)</span>}
          </p>
        )}
        <Notice problem={remove.problem} />
        {!deletedAt && task !== "edit" && (
          <p className={`actions ${isOpen ? "open" : ""}`}>
            {isOwn && (
              <button type="button" className="link" onClick={() => setTask("edit")}>
                Edit
              </button>
            )}
            {(isOwn || user.role !== "MEMBER") && (
              <button type="button" className="link" onClick={() => setTask("delete")}>
                Delete
              </button>
            )}
            {!isOwn && (
              <button type="button" className="link" onClick={() => setTask("report")}>
                Report
              </button>
            )}
          </p>
        )}
      </div>
      {/* Where nothing can hover over the message. */}
      {!deletedAt && task !== "edit" && (
        <button
          type="button"
          className="link more"
          aria-label="What can be done with this message"
          aria-expanded={isOpen}
          onClick={() => setIsOpen(!isOpen)}
        >
          <Dots />
        </button>
      )}
      {task === "delete" && (
        <Confirm title="Delete this message?" action="Delete" onYes={deleteIt} onNo={done}>
          It disappears for everyone. Its place in the room stays.
        </Confirm>
      )}
      {task === "report" && <Report message={message} onDone={done} />}
    </li>
  );
});

function Edit({ message, onChanged, onDone }: { message: Message; onChanged: Props["onChanged"]; onDone: () => void }) {
  const { run, isRunning, problem } = useAction(EDIT_MESSAGE);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current!.focus();
    area.current!.setSelectionRange(message.content.length, message.content.length);
    area.current!.form!.scrollIntoView({ block: "nearest" });
  }, [message.content]);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const data = await run({ id: message.id, input: { content: area.current!.value } });
    if (!data?.editMessage) return;
    onChanged(data.editMessage.message);
    onDone();
  }

  return (
    <form className="edit" onSubmit={submit} onKeyDown={({ key }) => key === "Escape" && onDone()}>
      <TextField
        ref={area}
        label="What it is to say"
        name="content"
        defaultValue={message.content}
        rows={2}
        required
        maxLength={LONGEST}
        problem={problem}
      />
      <FormNotice problem={problem} />
      <div className="row">
        <button disabled={isRunning}>Save</button>
        <button type="button" className="plain" onClick={onDone}>
          Cancel
        </button>
      </div>
    </form>
  );
}

function Report({ message, onDone }: { message: Message; onDone: () => void }) {
  const { run, isRunning, problem } = useAction(REPORT_MESSAGE);
  const [isReported, setIsReported] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const reason = String(new FormData(event.currentTarget).get("reason"));
    if (await run({ id: message.id, input: { reason } })) setIsReported(true);
  }

  return (
    <Dialog title="Report this message" onClose={onDone}>
      {isReported ? (
        <>
          <p role="status">The moderators have your report. {message.author.username} is not told who made it.</p>
          <button type="button" onClick={onDone}>
            Close
          </button>
        </>
      ) : (
        <form onSubmit={submit}>
          <TextField
            label="Why?"
            hint="For the moderators, up to 500 characters."
            name="reason"
            rows={3}
            required
            maxLength={500}
            problem={problem}
          />
          <FormNotice problem={problem} />
          <div className="row">
            <button disabled={isRunning}>Report</button>
            <button type="button" className="plain" onClick={onDone}>
              Cancel
            </button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

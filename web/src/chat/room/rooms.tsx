import { type FormEvent, useEffect, useRef } from "react";
import { useQuery } from "urql";
import { Field } from "../ui/field";
import { FormNotice } from "../ui/notice";
import { More, Pages, Pending } from "../ui/pages";
import { useAction } from "../ui/use-action";
import { CREATE_ROOM, ROOMS } from "./documents";

/** The rooms there are. On narrow screens it opens over the page (`popover`), on wide ones it is always there. */
export function Rooms({ current }: { current: string }) {
  const create = useAction(CREATE_ROOM);
  const ref = useRef<HTMLElement>(null);
  useEffect(() => {
    if (ref.current!.matches(":popover-open")) ref.current!.hidePopover();
  }, [current]);

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const made = await create.run({ input: { name: String(new FormData(form).get("name")) } });
    if (!made?.createRoom) return;
    form.reset();
    location.hash = `room/${made.createRoom.room.name}`;
  }

  return (
    <nav id="rooms" className="side" popover="auto" aria-labelledby="rooms-heading" ref={ref}>
      <h2 id="rooms-heading">Rooms</h2>
      <ul>
        <Pages page={(after, onMore) => <Page after={after} current={current} onMore={onMore} />} />
      </ul>
      <details>
        <summary>New room</summary>
        <form onSubmit={submit}>
          <Field
            label="Name of the room"
            name="name"
            required
            minLength={2}
            maxLength={32}
            autoCapitalize="none"
            hint="2 to 32 of a–z, 0–9 and -. Rooms stay."
            problem={create.problem}
          />
          <FormNotice problem={create.problem} />
          <button disabled={create.isRunning}>Make it</button>
        </form>
      </details>
    </nav>
  );
}

interface PageProps {
  after?: string;
  current: string;
  onMore?: (cursor: string) => void;
}

function Page({ after, current, onMore }: PageProps) {
  const [{ data, error }] = useQuery({ query: ROOMS, variables: { after }, requestPolicy: "cache-and-network" });
  if (!data?.rooms) return <Pending error={error} />;
  return (
    <>
      {data.rooms.nodes.map(({ id, name }) => (
        <li key={id}>
          <a href={`#room/${name}`} aria-current={name === current ? "page" : undefined}>
            #{name}
          </a>
        </li>
      ))}
      <More pageInfo={data.rooms.pageInfo} onMore={onMore}>
        More rooms
      </More>
    </>
  );
}

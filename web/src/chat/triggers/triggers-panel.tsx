import "./triggers.css";
import { type FormEvent, type ReactNode, useState } from "react";
import { useQuery } from "urql";
import type { User } from "../app";
import { problem } from "../problem";
import { Notice } from "../ui/notice";
import { More, Pages, Pending } from "../ui/pages";
import { Consents } from "./consents";
import { LISTS, MY_TRIGGERS, type Trigger, TRIGGERS } from "./documents";
import { PauseButton } from "./pause-button";
import { TriggerForm } from "./trigger-form";
import { TriggerCard } from "./trigger-card";

export default function TriggersPanel({ user }: { user: User }) {
  const [{ data, error }] = useQuery({ query: MY_TRIGGERS, context: LISTS, requestPolicy: "cache-and-network" });
  const [search, setSearch] = useState("");
  const [view, setView] = useState<"all" | "active" | "mine">("all");
  const [isWriting, setIsWriting] = useState(false);
  const active = data?.viewer?.profile.triggers ?? [];
  const isPaused = data?.viewer?.triggersPaused ?? false;

  function find(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    setSearch(String(new FormData(event.currentTarget).get("search")).trim());
    setView("all");
  }

  const card = (trigger: Trigger) => (
    <TriggerCard
      key={trigger.id}
      trigger={trigger}
      user={user}
      isActive={active.some(({ id }) => id === trigger.id)}
      isPaused={isPaused}
    />
  );
  return (
    <div className="page">
      <h1>Triggers</h1>
      <p className="lead">
        A trigger is a short named cue. Companions use one with you <b>only after you have read and activated it</b>,
        and you can take that back at any time: one by one, or all at once.
      </p>
      <Notice problem={error && problem(error)} />
      {data?.viewer && <Pause isPaused={isPaused} count={active.length} />}

      <div className="tools">
        <div className="choice" role="group" aria-label="Which triggers to show">
          <button type="button" aria-pressed={view === "all"} onClick={() => setView("all")}>
            All
          </button>
          <button type="button" aria-pressed={view === "active"} onClick={() => setView("active")}>
            Active ({active.length})
          </button>
          <button type="button" aria-pressed={view === "mine"} onClick={() => setView("mine")}>
            Written by me
          </button>
        </div>
        <form className="search" role="search" onSubmit={find}>
          <label className="unseen" htmlFor="search">
            Search by name or description
          </label>
          <input id="search" name="search" type="search" placeholder="Search" />
          <button className="plain">Find</button>
        </form>
        <button type="button" onClick={() => setIsWriting(true)}>
          Write one
        </button>
      </div>
      {isWriting && <TriggerForm onDone={() => setIsWriting(false)} />}

      {view === "active" ? (
        <ul className="cards">
          {active.map(card)}
          {active.length === 0 && <li className="empty">You have activated none.</li>}
        </ul>
      ) : (
        <List
          key={`${view} ${search}`}
          search={view === "all" ? search : ""}
          creator={view === "mine" ? user.username : undefined}
          card={card}
        />
      )}
      <Consents />
    </div>
  );
}

function Pause({ isPaused, count }: { isPaused: boolean; count: number }) {
  const active = count === 1 ? "active trigger" : `${count} active triggers`;
  const words = isPaused
    ? "None of your triggers is used, and your list stays as it is."
    : count === 0
      ? "You have activated none, so none is used."
      : `Your ${active} may be used when you ask a companion to.`;
  return (
    <section className={`card pause ${isPaused ? "paused" : ""}`} aria-label="Pause">
      <p role="status">
        <b>{isPaused ? "Paused." : "Not paused."}</b> {words}
      </p>
      <PauseButton isPaused={isPaused} />
    </section>
  );
}

interface ListProps {
  search: string;
  creator?: string;
  card: (trigger: Trigger) => ReactNode;
}

function List({ search, creator, card }: ListProps) {
  return (
    <ul className="cards">
      <Pages
        page={(after, onMore) => <Page search={search} creator={creator} after={after} card={card} onMore={onMore} />}
      />
    </ul>
  );
}

interface PageProps extends ListProps {
  after?: string;
  onMore?: (cursor: string) => void;
}

function Page({ search, creator, after, card, onMore }: PageProps) {
  const [{ data, error }] = useQuery({
    query: TRIGGERS,
    variables: { search: search || undefined, creator, after },
    context: LISTS,
    requestPolicy: "cache-and-network",
  });
  if (!data?.triggers) return <Pending error={error} />;
  const { nodes, pageInfo } = data.triggers;
  return (
    <>
      {nodes.map(card)}
      {nodes.length === 0 && !after && (
        <li className="empty">
          {search ? `Nothing has “${search}” in its name or description.` : "There are none yet."}
        </li>
      )}
      <More pageInfo={pageInfo} onMore={onMore}>
        More
      </More>
    </>
  );
}

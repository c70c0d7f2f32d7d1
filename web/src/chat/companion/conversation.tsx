import { type FormEvent, type KeyboardEvent, type ReactNode, useRef, useState } from "react";
import { useClient, useQuery } from "urql";
import { problem } from "../problem";
import { Check } from "../ui/field";
import { Moon } from "../ui/icons";
import { Notice } from "../ui/notice";
import { useEnd } from "../ui/use-end";
import { ActiveTriggers } from "./active-triggers";
import { MODELS, SESSION, SESSIONS } from "./documents";
import { type Kept, useAnswer } from "./use-answer";

interface Turn {
  prompt: string;
  answer: Kept;
}

interface Props {
  sessionId?: string;
  onSession: (sessionId: string) => void;
}

export function Conversation({ sessionId, onSession }: Props) {
  const client = useClient();
  const [{ data: known, error: modelsError }] = useQuery({ query: MODELS });
  const [{ data: past, error: pastError }] = useQuery({
    query: SESSION,
    variables: { id: sessionId ?? "" },
    pause: !sessionId,
    requestPolicy: "network-only",
  });
  const [turns, setTurns] = useState<Turn[]>([]);
  const [asked, setAsked] = useState<string>();
  const [draft, setDraft] = useState("");
  const [settings, setSettings] = useState({ includeTriggers: false, includeAudio: false, model: "" });
  const answer = useAnswer();
  const models = known?.models ?? [];
  const model = models.find(({ name }) => name === settings.model) ?? models[0];
  const isAsking = answer.text !== undefined;

  const area = useRef<HTMLTextAreaElement>(null);
  const { scroller, list, isAtEnd, look } = useEnd();

  async function ask(event: FormEvent | KeyboardEvent) {
    event.preventDefault();
    const prompt = draft.trim();
    if (!prompt || isAsking) return;
    setAsked(prompt);
    setDraft("");
    isAtEnd.current = true; // To see the answer.
    area.current!.focus(); // The button is another one now.
    const current = turns.at(-1)?.answer.sessionId ?? sessionId;
    const kept = await answer.ask({
      prompt,
      settings: { ...settings, model: model?.name, includeAudio: settings.includeAudio && model?.supportsAudio },
      ...(current ? { sessionId: current } : { newSession: true }),
    });
    setAsked(undefined);
    if (!kept) return setDraft((draft) => draft || prompt);
    setTurns((turns) => [...turns, { prompt, answer: kept }]);
    onSession(kept.sessionId);
    // A subscription does not tell the cache that there is a new session.
    void client.query(SESSIONS, {}, { requestPolicy: "network-only" }).toPromise();
  }

  function stop() {
    answer.stop();
    area.current!.focus();
  }

  const isEmpty = !sessionId && turns.length === 0 && !asked;
  return (
    <section className="talk" aria-labelledby="companion-name">
      <header>
        <h1 id="companion-name">Companion</h1>
        <button type="button" className="plain narrow" popoverTarget="sessions">
          Conversations
        </button>
      </header>
      <div className="scroller" ref={scroller} onScroll={look} role="region" aria-label="Conversation" tabIndex={0}>
        <Notice problem={(pastError && problem(pastError)) ?? (modelsError && problem(modelsError))} />
        {isEmpty && (
          <p className="empty">
            <Moon />
            What you say here is between you and the companion. It is kept in your conversations until you delete it.
          </p>
        )}
        <ol className="turns" ref={list}>
          {past?.viewer?.session?.messages.map(({ role, content }, index) => (
            <Said key={index} by={role}>
              {content}
            </Said>
          ))}
          {turns.map(({ prompt, answer }, index) => (
            <TurnItems key={index} prompt={prompt} answer={answer} isNewest={index === turns.length - 1} />
          ))}
          {asked && <Said by="USER">{asked}</Said>}
          {isAsking && <Said by="ASSISTANT">{answer.text || "…"}</Said>}
        </ol>
      </div>
      {/* The answer as a whole: piece by piece nobody could listen to it. */}
      <p className="unseen" role="status">
        {isAsking ? "The companion is answering" : turns.at(-1)?.answer.response}
      </p>
      <Notice problem={answer.problem} />
      <form className="composer" onSubmit={ask}>
        <label className="unseen" htmlFor="prompt">
          Message to the companion
        </label>
        <textarea
          id="prompt"
          ref={area}
          rows={1}
          maxLength={8_000}
          value={draft}
          placeholder="Write to the companion"
          enterKeyHint="send"
          onChange={({ target }) => setDraft(target.value)}
          onKeyDown={(event) =>
            event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing && ask(event)
          }
        />
        {/* Two buttons, by their keys: if one became the other under the pointer, a click on it would ask again. */}
        {isAsking ? (
          <button key="stop" type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button key="ask" disabled={!draft.trim()}>
            Ask
          </button>
        )}
        <div className="options">
          <Check
            label="Use my triggers"
            name="includeTriggers"
            checked={settings.includeTriggers}
            onChange={({ target }) => setSettings({ ...settings, includeTriggers: target.checked })}
          />
          {model?.supportsAudio && (
            <Check
              label="Read aloud"
              name="includeAudio"
              checked={settings.includeAudio}
              onChange={({ target }) => setSettings({ ...settings, includeAudio: target.checked })}
            />
          )}
          {models.length > 1 && (
            <label>
              Model{" "}
              <select value={model?.name} onChange={({ target }) => setSettings({ ...settings, model: target.value })}>
                {models.map(({ name }) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            </label>
          )}
          {settings.includeTriggers ? <ActiveTriggers /> : <span className="hint">No trigger is used.</span>}
        </div>
      </form>
    </section>
  );
}

function TurnItems({ prompt, answer, isNewest }: Turn & { isNewest: boolean }) {
  const { response, triggers, audioUrl } = answer;
  return (
    <>
      <Said by="USER">{prompt}</Said>
      <Said by="ASSISTANT">
        {response}
        {triggers.length > 0 && <span className="quiet used">With {triggers.map(({ name }) => name).join(", ")}</span>}
        {/* By its path: the file is the server's own, under whatever name we know the server. */}
        {audioUrl && (
          <audio controls autoPlay={isNewest} src={new URL(audioUrl).pathname} aria-label="The answer, read aloud" />
        )}
      </Said>
    </>
  );
}

function Said({ by, children }: { by: "USER" | "ASSISTANT"; children: ReactNode }) {
  return (
    <li className={by === "USER" ? "mine" : "theirs"}>
      <span className="unseen">{by === "USER" ? "You: " : "Companion: "}</span>
      {children}
    </li>
  );
}

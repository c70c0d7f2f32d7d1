import { CombinedError } from "@urql/core";
import { useEffect, useRef, useState } from "react";
import { useClient } from "urql";
import { stream } from "../connection";
import type { GenerateInput, GenerationSubscription } from "../gql/graphql";
import { problem, type Problem } from "../problem";
import { GENERATION } from "./documents";

export type Kept = Extract<GenerationSubscription["generation"], { __typename: "GeneratePayload" }>;

const BROKEN_OFF: Problem = { code: "BROKEN_OFF", message: "The answer broke off.", fields: {} };

/**
 * Asks a companion. `text` is what has come of the answer so far, undefined while nothing is asked. `ask` gives the
 * answer that was kept; it is not asked for again by itself, since each time costs.
 */
export function useAnswer() {
  const client = useClient();
  const [text, setText] = useState<string>();
  const [failure, setFailure] = useState<Problem>();
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);

  async function ask(input: GenerateInput): Promise<Kept | undefined> {
    stop.current = new AbortController();
    const { signal } = stop.current;
    setFailure(undefined);
    setText("");
    try {
      for await (const { generation } of stream(client, GENERATION, { input }, signal)) {
        if (generation.__typename === "GeneratePayload") return generation;
        setText((before) => before + generation.text);
      }
      if (!signal.aborted) setFailure(BROKEN_OFF);
    } catch (error) {
      if (!(error instanceof CombinedError)) throw error;
      const reason = problem(error);
      setFailure(reason.code === "OFFLINE" ? BROKEN_OFF : reason);
    } finally {
      setText(undefined);
    }
  }

  return { ask, stop: () => stop.current.abort(), text, problem: failure };
}

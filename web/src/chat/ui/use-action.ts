import type { AnyVariables, TypedDocumentNode } from "@urql/core";
import { useState } from "react";
import { useMutation } from "urql";
import { problem, type Problem } from "../problem";

/** A mutation, whether it is running, and why its last run failed. `run` gives its data, or undefined. */
export function useAction<Data, Variables extends AnyVariables>(document: TypedDocumentNode<Data, Variables>) {
  const [{ fetching }, execute] = useMutation(document);
  const [failure, setFailure] = useState<Problem>();
  const run = async (variables: Variables) => {
    setFailure(undefined);
    const { data, error } = await execute(variables);
    if (error) setFailure(problem(error));
    return error ? undefined : data;
  };
  return { run, isRunning: fetching, problem: failure };
}

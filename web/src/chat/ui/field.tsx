import { type ComponentProps, type ReactNode, useId } from "react";
import type { Problem } from "../problem";

interface Described {
  label: ReactNode;
  /** What is expected, in small print. */
  hint?: ReactNode;
  /** Why it was refused is shown beside it, if it was: `name` is the name of the field in the API. */
  problem?: Problem;
  name: string;
}

export function Field({ label, hint, problem, ...input }: Described & ComponentProps<"input">) {
  const described = useDescription(hint, problem, input.name);
  return (
    <div className="field">
      <label htmlFor={described.id}>{label}</label>
      <input {...described.props} {...input} />
      {described.text}
    </div>
  );
}

export function TextField({ label, hint, problem, ...area }: Described & ComponentProps<"textarea">) {
  const described = useDescription(hint, problem, area.name);
  return (
    <div className="field">
      <label htmlFor={described.id}>{label}</label>
      <textarea dir="auto" {...described.props} {...area} />
      {described.text}
    </div>
  );
}

export function Check({ label, hint, problem, ...input }: Described & ComponentProps<"input">) {
  const described = useDescription(hint, problem, input.name);
  return (
    <div className="check">
      <input type="checkbox" {...described.props} {...input} />
      <label htmlFor={described.id}>{label}</label>
      {described.text}
    </div>
  );
}

function useDescription(hint: ReactNode, problem: Problem | undefined, name: string) {
  const id = useId();
  const why = problem?.fields[name];
  return {
    id,
    props: {
      id,
      "aria-invalid": why ? true : undefined,
      "aria-describedby": why ? `${id}-why` : hint ? `${id}-hint` : undefined,
    },
    text: (
      <>
        {hint && (
          <span className="hint" id={`${id}-hint`}>
            {hint}
          </span>
        )}
        {why && (
          <span className="why" id={`${id}-why`} role="alert">
            {why}
          </span>
        )}
      </>
    ),
  };
}

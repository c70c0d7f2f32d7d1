import type { Problem } from "../problem";

/** What went wrong, read out at once. */
export function Notice({ problem }: { problem?: Problem }) {
  return problem ? (
    <p className="notice" role="alert">
      {problem.message}
    </p>
  ) : null;
}

/** The same below a form, unless the form says it beside its fields. */
export function FormNotice({ problem }: { problem?: Problem }) {
  return problem && Object.keys(problem.fields).length === 0 ? <Notice problem={problem} /> : null;
}

import type { Problem } from "../problem";

/** What went wrong, read out at once. */
export function Notice({ problem }: { problem?: Problem }) {
  return problem ? <p className="notice" role="alert">{problem.message}</p> : null;
}

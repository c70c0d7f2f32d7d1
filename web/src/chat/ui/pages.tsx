import type { CombinedError } from "@urql/core";
import { Fragment, type ReactNode, useState } from "react";
import { problem } from "../problem";
import { Notice } from "./notice";

interface Props {
  /** What is behind a cursor, and what to call with the next one, if this is the last page so far. */
  page: (after: string | undefined, onMore?: (cursor: string) => void) => ReactNode;
}

/** A list in pages. Each page asks for itself, so that the cache can renew it alone. */
export function Pages({ page }: Props) {
  const [cursors, setCursors] = useState<(string | undefined)[]>([undefined]);
  const more = (cursor: string) => setCursors([...cursors, cursor]);
  return cursors.map((after, index) => (
    <Fragment key={after ?? ""}>{page(after, index === cursors.length - 1 ? more : undefined)}</Fragment>
  ));
}

/** In place of a page that is not there yet: why. */
export function Pending({ error }: { error?: CombinedError }) {
  return <li>{error ? <Notice problem={problem(error)} /> : <span role="status">One moment…</span>}</li>;
}

interface MoreProps {
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
  onMore?: (cursor: string) => void;
  children: ReactNode;
}

/** The button at the end of a page, where there is another one. */
export function More({ pageInfo: { hasNextPage, endCursor }, onMore, children }: MoreProps) {
  if (!hasNextPage || !onMore) return null;
  return (
    <li>
      <button type="button" className="plain" onClick={() => onMore(endCursor!)}>
        {children}
      </button>
    </li>
  );
}

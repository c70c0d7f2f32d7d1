import type { MouseEvent, ReactNode } from "react";

/**
 * A link past what is between here and the element with the id `to`, for those who go by keyboard. It leaves the address
 * alone, which says which panel it is.
 */
export function Skip({ to, children }: { to: string; children: ReactNode }) {
  function skip(event: MouseEvent) {
    event.preventDefault();
    document.getElementById(to)!.focus();
  }
  return (
    <a className="skip" href={`#${to}`} onClick={skip}>
      {children}
    </a>
  );
}

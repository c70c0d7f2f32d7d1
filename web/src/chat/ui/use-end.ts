import { useEffect, useRef } from "react";

/** How near to the end counts as being there, in pixels. */
const NEAR = 80;

/**
 * Who is at the end of what is said stays there while it grows, or the keyboard of a phone takes room away; who reads
 * further up is left alone. `scroller` is what scrolls, `list` what grows in it, and `look` is for when it has scrolled.
 */
export function useEnd() {
  const scroller = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const isAtEnd = useRef(true);

  useEffect(() => {
    const element = scroller.current!;
    const observer = new ResizeObserver(() => {
      if (isAtEnd.current) element.scrollTop = element.scrollHeight;
    });
    observer.observe(element);
    observer.observe(list.current!);
    return () => observer.disconnect();
  }, []);

  function look() {
    const { scrollTop, scrollHeight, clientHeight } = scroller.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  }

  return { scroller, list, isAtEnd, look };
}

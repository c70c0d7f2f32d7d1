// Drawn here, so that nothing is fetched for them. All are ornaments: the words beside them say it.

const stroke = {
  fill: "none",
  stroke: "currentColor",
  strokeWidth: 1.8,
  strokeLinecap: "round",
  strokeLinejoin: "round",
} as const;

function icon(path: string) {
  return () => (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" {...stroke}>
      <path d={path} />
    </svg>
  );
}

export const Bubble = icon("M4 5h16v11H10l-5 4v-4H4z");
export const Spark = icon("M12 3l2 6.5L20.5 12 14 14.5 12 21l-2-6.500L3.5 12 10 9.500z");
export const Bell = icon("M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 21h4");
export const Person = icon("M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.500c.8-4 3.8-6 7.5-6s6.7 2 7.5 6");
export const Key = icon(
  "M14.5 4a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM10.5 13.500L4 20v-3.500M7 17l2 2M15.5 8.500h.01",
);
export const Hook = icon("M12 4v9m0 0a4 4 0 1 1-4-4M12 4a2 2 0 1 0 .01 0M16 13h4m-2-2v4");
export const Down = icon("M12 5v14M6 13l6 6 6-6");
export const Dots = icon("M5 12h.01M12 12h.01M19 12h.01");
export const Send = icon("M4 12l16-8-6 16-3-7z");

export function Moon() {
  return (
    <svg className="moon" viewBox="0 0 24 24" aria-hidden="true">
      <path fill="currentColor" d="M20.6 14.300A9 9 0 0 1 9.7 3.400a9 9 0 1 0 10.9 10.900z" />
    </svg>
  );
}

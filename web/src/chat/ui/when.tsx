/** A time as people say it: without the day where it is today. */
export function When({ time }: { time: string }) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  const day = isToday ? undefined : ({ day: "numeric", month: "short" } as const);
  return (
    <time dateTime={time} title={date.toLocaleString()}>
      {date.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" })}
    </time>
  );
}

const INTERVAL = 30_000;
const TIMEOUT = 5_000;
const QUERY = "query ServerStatus { serverStatus { rooms members messagesLastMinute online } }";

interface Status {
  rooms: number;
  members: number;
  messagesLastMinute: number;
  online: number;
}

const byId = (id: string) => document.getElementById(id)!;

/** Asks for the status now and every 30 s, as long as someone can see the page. */
export function watchStatus() {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const ask = async () => {
    clearTimeout(timer);
    timer = undefined;
    if (document.hidden) return;
    const wait = await refresh();
    clearTimeout(timer);
    timer = setTimeout(ask, wait);
  };
  document.addEventListener("visibilitychange", ask);
  ask();
}

/** Shows what the server says of itself; gives the milliseconds to wait before it is asked again. */
async function refresh(): Promise<number> {
  try {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ query: QUERY }),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (response.status === 429) {
      const seconds = Number(response.headers.get("Retry-After")) || 60;
      say("up", "The server is up. Too many requests from here: paused.");
      return seconds * 1_000;
    }
    const status: Status | undefined = (await response.json()).data?.serverStatus;
    if (!status) throw new Error(`no status in an answer of ${response.status}`);
    show("rooms", status.rooms);
    show("members", status.members);
    show("online", status.online);
    show("messages", status.messagesLastMinute);
    say("up", "The server is up.");
  } catch {
    say("down", "The server cannot be reached. Trying again…");
  }
  return INTERVAL;
}

const number = new Intl.NumberFormat("en");
const show = (id: string, value: number) => (byId(id).textContent = number.format(value));

// Said again only when it changes: a screen reader speaks it each time.
function say(state: "up" | "down", text: string) {
  byId("status").classList.remove("up", "down");
  byId("status").classList.add(state);
  if (byId("state").textContent !== text) byId("state").textContent = text;
}

// The explorer on /graphql: sends what is in the editor, shows the answer, and lists the schema by introspection.
// Nothing is stored: queries, variables and tokens live as long as the page does.
"use strict";

const EXAMPLES = [
  {
    title: "Register",
    query: `# Makes an account and logs this browser in.
mutation Register($input: RegisterInput!) {
  register(input: $input) {
    user { id username role }
  }
}`,
    variables: { input: { username: "ada", password: "a long passphrase", ofAge: true } },
  },
  {
    title: "Log in",
    query: `# Sets the cookie of this browser. Programs without cookies ask for the token too.
mutation LogIn($input: LoginInput!) {
  login(input: $input) {
    user { id username role }
  }
}`,
    variables: { input: { username: "ada", password: "a long passphrase" } },
  },
  {
    title: "My profile",
    query: `query MyProfile {
  viewer {
    user { username role createdAt }
    profile {
      displayName isPublic xp level
      triggers { id name }
    }
    triggersPaused
    rateLimit { limit remaining resetAt }
  }
}`,
    variables: {},
  },
  {
    title: "Triggers",
    query: `# Public triggers and your own. For the next page, set after to endCursor.
query Triggers($search: String, $first: Int! = 20, $after: String) {
  triggers(search: $search, first: $first, after: $after) {
    nodes { id name description isPublic revision creator { username } }
    pageInfo { hasNextPage endCursor }
  }
}`,
    variables: { search: null, first: 20 },
  },
  {
    title: "Create a trigger",
    query: `mutation CreateTrigger($input: CreateTriggerInput!) {
  createTrigger(input: $input) {
    trigger { id name description content isPublic revision }
  }
}`,
    variables: {
      input: { name: "Calm", description: "A slow breath.", content: "Breathe in, and out.", isPublic: true },
    },
  },
  {
    title: "Ask a companion",
    query: `# Kept in a session, which the next call goes on with. subscription { generation } tells the text as it comes,
# over a WebSocket or an event stream.
mutation Ask($input: GenerateInput!) {
  generate(input: $input) {
    response
    triggers { name }
    sessionId
  }
}`,
    variables: { input: { prompt: "Good evening!", settings: { includeTriggers: true } } },
  },
  {
    title: "Log out",
    query: `mutation LogOut {
  logout { success }
}`,
    variables: {},
  },
];

const INTROSPECTION = `query Introspection {
  __schema {
    queryType { name } mutationType { name } subscriptionType { name }
    types {
      kind name description
      fields(includeDeprecated: true) {
        name description isDeprecated deprecationReason
        args { name description defaultValue type { ...Ref } }
        type { ...Ref }
      }
      inputFields { name description defaultValue type { ...Ref } }
      enumValues(includeDeprecated: true) { name description }
      interfaces { name }
      possibleTypes { name }
    }
  }
}
fragment Ref on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }`;

const JSON_TYPES = "application/graphql-response+json, application/json;q=0.9";
// An answer longer than this is shown without colours: a span for each token would make the page slow.
const COLOURED_CHARACTERS = 200_000;
const BUDGET_HEADERS = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-Id"];

const byId = (id) => document.getElementById(id);
const query = byId("query");
const variables = byId("variables");
const token = byId("token");
const operation = byId("operation");
const runButton = byId("run");

// An element with text and children. Text is only ever set as text, never as markup.
function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- Tabs: each keeps what was typed into it. ----

const tabs = EXAMPLES.map((example, index) => ({
  query: example.query,
  variables: JSON.stringify(example.variables, null, 2),
  button: element("button", {
    type: "button", role: "tab", id: `tab-${index}`, "aria-controls": "editor", "aria-selected": "false", tabindex: "-1",
  }, example.title),
}));
let current = null;

function select(tab) {
  if (current) {
    current.query = query.value;
    current.variables = variables.value;
    current.button.setAttribute("aria-selected", "false");
    current.button.tabIndex = -1;
  }
  current = tab;
  tab.button.setAttribute("aria-selected", "true");
  tab.button.tabIndex = 0;
  byId("editor").setAttribute("aria-labelledby", tab.button.id);
  query.value = tab.query;
  variables.value = tab.variables;
  showOperations();
  readVariables();
}

for (const tab of tabs) {
  tab.button.addEventListener("click", () => select(tab));
  byId("tabs").append(tab.button);
}
byId("tabs").addEventListener("keydown", (event) => {
  const place = tabs.indexOf(current);
  const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const tab = tabs[(next + tabs.length) % tabs.length];
  select(tab);
  tab.button.focus();
});

// ---- The editor. ----

// The names of the document's operations. Strings and comments, which may say anything, are taken out first.
function operationNames(text) {
  const bare = text.replace(/"""[^]*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*/g, " ");
  return [...bare.matchAll(/(?:^|[}\s])(?:query|mutation|subscription)\s+([_A-Za-z]\w*)\s*[({@]/g)].map((match) => match[1]);
}

function showOperations() {
  const names = operationNames(query.value);
  const before = operation.value;
  byId("operation-label").hidden = names.length < 2;
  operation.replaceChildren(...names.map((name) => element("option", {}, name)));
  if (names.includes(before)) operation.value = before;
}

// The variables as an object, or undefined with the reason shown.
function readVariables() {
  const show = (why) => {
    byId("variables-fault").textContent = why;
    variables.setAttribute("aria-invalid", why ? "true" : "false");
  };
  const text = variables.value.trim();
  try {
    const read = text ? JSON.parse(text) : {};
    if (read === null || typeof read !== "object" || Array.isArray(read)) throw new Error("they are not an object");
    show("");
    return read;
  } catch (error) {
    show(`The variables cannot be sent: ${error.message}`);
    return undefined;
  }
}

query.addEventListener("input", showOperations);
variables.addEventListener("input", readVariables);

// ---- Running. ----

async function send(body, bearer) {
  const headers = { "Content-Type": "application/json", Accept: JSON_TYPES };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  return fetch("/graphql", { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
}

let running = false;

async function run() {
  const given = readVariables();
  if (running) return;
  if (given === undefined) {
    variables.focus();
    return;
  }
  running = true;
  runButton.setAttribute("aria-disabled", "true");
  showStatus("Running…", "");
  const body = { query: query.value, variables: given };
  if (operationNames(query.value).length > 1) body.operationName = operation.value;
  const start = performance.now();
  try {
    const response = await send(body, token.value.trim());
    const text = await response.text();
    showAnswer(response, text, Math.round(performance.now() - start));
  } catch (error) {
    showStatus(`The server did not answer: ${error.message}`, "bad");
    byId("headers").replaceChildren();
    byId("result").replaceChildren();
  } finally {
    running = false;
    runButton.setAttribute("aria-disabled", "false");
  }
}

function showStatus(text, kind) {
  byId("status").textContent = text;
  byId("status").className = `status ${kind}`.trim();
}

function showAnswer(response, text, milliseconds) {
  let pretty = text;
  let failures = 0;
  try {
    const answer = JSON.parse(text);
    failures = answer.errors?.length ?? 0;
    pretty = JSON.stringify(answer, null, 2);
  } catch {
    // Shown as it came.
  }
  const errors = failures ? `, ${failures} ${failures === 1 ? "error" : "errors"}` : "";
  const size = new Blob([text]).size;
  showStatus(
    `${response.status} ${response.statusText}${errors}, ${milliseconds} ms, ${size} bytes`,
    response.ok && !failures ? "good" : "bad",
  );
  const shown = BUDGET_HEADERS.filter((name) => response.headers.has(name));
  byId("headers").replaceChildren(
    ...shown.flatMap((name) => [element("dt", {}, name), element("dd", {}, response.headers.get(name))]),
  );
  byId("result").replaceChildren(...coloured(pretty));
  byId("result").scrollTop = 0;
}

// JSON text as coloured pieces.
function coloured(text) {
  if (text.length > COLOURED_CHARACTERS) return [text];
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(/("(?:\\.|[^"\\])*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g)) {
    pieces.push(text.slice(end, match.index));
    const kind = match[2] ? "json-key" : match[1] ? "json-string" : "json-other";
    pieces.push(element("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    end = match.index + match[0].length;
  }
  pieces.push(text.slice(end));
  return pieces;
}

byId("request").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});

// ---- The schema. ----

const KINDS = {
  OBJECT: "type", INPUT_OBJECT: "input", INTERFACE: "interface", UNION: "union", ENUM: "enum", SCALAR: "scalar",
};
let types = [];

async function loadSchema() {
  try {
    const response = await send({ query: INTROSPECTION }, "");
    const answer = await response.json();
    if (!answer.data) throw new Error(answer.errors?.[0]?.message ?? `status ${response.status}`);
    types = ordered(answer.data.__schema);
    showTypes();
  } catch (error) {
    byId("found").textContent = `The schema could not be loaded: ${error.message}`;
  }
}

// Roots first, then by name; the types of introspection itself left out.
function ordered(schema) {
  const roots = [schema.queryType, schema.mutationType, schema.subscriptionType].map((root) => root?.name);
  const rank = (type) => (roots.includes(type.name) ? roots.indexOf(type.name) : roots.length);
  return schema.types
    .filter((type) => !type.name.startsWith("__"))
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

const members = (type) => type.fields ?? type.inputFields ?? type.enumValues ?? [];

function showTypes() {
  const wanted = byId("search").value.trim().toLowerCase();
  const holds = (text) => text.toLowerCase().includes(wanted);
  const shown = [];
  let fields = 0;
  for (const type of types) {
    const matching = wanted ? members(type).filter((member) => holds(member.name)) : [];
    if (wanted && !holds(type.name) && matching.length === 0) continue;
    fields += matching.length;
    // A type found by its name shows all of it, one found by its fields shows those.
    const narrowed = wanted && !holds(type.name) ? matching : members(type);
    shown.push(typeElement(type, narrowed, wanted));
  }
  byId("types").replaceChildren(...shown);
  byId("found").textContent = wanted
    ? `${shown.length} of ${types.length} types, ${fields} matching fields`
    : `${types.length} types`;
}

// The body of a type is made when it is first opened.
function typeElement(type, shown, wanted) {
  const summary = element("summary", {},
    element("code", {}, ...marked(type.name, wanted)), element("span", { class: "quiet" }, KINDS[type.kind] ?? ""));
  const details = element("details", { class: "type", "data-type": type.name }, summary);
  const fill = () => {
    if (details.childElementCount > 1) return;
    if (type.description) details.append(about(type.description));
    const related = [...(type.interfaces ?? []), ...(type.possibleTypes ?? [])];
    if (related.length) {
      const label = type.interfaces?.length ? "implements " : "is one of ";
      details.append(element("p", { class: "about" }, label, ...joined(related.map((other) => typeLink(other.name)))));
    }
    if (shown.length) details.append(element("ul", {}, ...shown.map((member) => memberElement(member, wanted))));
  };
  details.addEventListener("toggle", () => details.open && fill());
  if (wanted && shown.length !== members(type).length) {
    fill();
    details.open = true;
  }
  return details;
}

// A description, with what stands between backticks as code.
function about(text) {
  const pieces = text.split("`").map((piece, index) => (index % 2 ? element("code", {}, piece) : piece));
  return element("p", { class: "about" }, ...pieces);
}

function memberElement(member, wanted) {
  const args = member.args ?? [];
  const line = element("code", {}, ...marked(member.name, wanted), args.length ? "(…)" : "");
  if (member.type) line.append(": ", ...typeReference(member.type));
  if (member.defaultValue != null) line.append(` = ${member.defaultValue}`);
  return element("li", {},
    line,
    member.isDeprecated ? about(`Deprecated: ${member.deprecationReason ?? ""}`) : null,
    member.description ? about(member.description) : null,
    args.length ? element("ul", { "aria-label": `Arguments of ${member.name}` },
      ...args.map((argument) => memberElement(argument, ""))) : null,
  );
}

// A type with its lists and exclamation marks, its name a link.
function typeReference(ref) {
  if (ref.kind === "NON_NULL") return [...typeReference(ref.ofType), "!"];
  if (ref.kind === "LIST") return ["[", ...typeReference(ref.ofType), "]"];
  return [typeLink(ref.name)];
}

function typeLink(name) {
  const link = element("button", { type: "button", class: "link" }, name);
  link.addEventListener("click", () => {
    byId("search").value = "";
    showTypes();
    const target = byId("types").querySelector(`[data-type="${CSS.escape(name)}"]`);
    if (!target) return;
    target.open = true;
    target.querySelector("summary").focus();
    target.scrollIntoView({ block: "start" });
  });
  return link;
}

function joined(links) {
  return links.flatMap((link, index) => (index ? [", ", link] : [link]));
}

function marked(text, wanted) {
  const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
  if (at < 0) return [text];
  const end = at + wanted.length;
  return [text.slice(0, at), element("mark", {}, text.slice(at, end)), text.slice(end)];
}

byId("search").addEventListener("input", showTypes);

select(tabs[0]);
loadSchema();

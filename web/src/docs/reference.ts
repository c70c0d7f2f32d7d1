import { createApiReference } from "@scalar/api-reference";
import "@scalar/api-reference/style.css";
import "./docs.css";

const HOW_TO_CALL = `
**Trying it out:** *Test Request* sends a request from this page. Log in by \`POST /auth/login\` here, or in the
[chat](/chat), and your browser sends its cookie along. Or give an API key as the bearer token: it goes before the cookie.`;

// The document as this page shows it: it tells what can be done here, and requests go to where the page came from. The
// address in the document is the public one, which may be another, and there is no cookie for that.
async function load() {
  const response = await fetch("/v1/openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  const document = await response.json();
  const { contact, ...info } = document.info;
  const support = contact ? `\n\n**Support:** [${contact.name}](${contact.url}), <${contact.email}>` : "";
  return {
    ...document,
    info: { ...info, description: `${info.description}\n${HOW_TO_CALL}${support}` },
    servers: [{ url: `${location.origin}/v1` }],
  };
}

// Scalar sends a Bearer even if none was given, and that is a wrong one. Without it the browser's cookie counts.
function send(input: string | URL | Request, init?: RequestInit) {
  const request = new Request(input, init);
  if (/^Bearer\s*$/.test(request.headers.get("Authorization") ?? "")) request.headers.delete("Authorization");
  return fetch(request);
}

try {
  createApiReference("#reference", {
    content: await load(),
    theme: "none",
    withDefaultFonts: false,
    hideDarkModeToggle: true,
    customFetch: send,
    // What is typed in is gone with the page.
    authentication: { preferredSecurityScheme: "bearer" },
    persistAuth: false,
    // Requests go from the page to this server, and nothing to anybody else.
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    showDeveloperTools: "never",
    // What is seen is in the name that is heard.
    localization: { translations: { navigation: { showAllEndpoints: "Show More of {name}" } } },
    defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  });
} catch (error) {
  const failure = document.getElementById("failure")!;
  failure.hidden = false;
  failure.textContent = `The description of the routes could not be loaded: ${(error as Error).message}`;
}

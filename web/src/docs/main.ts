import { createApiReference } from "@scalar/api-reference";
import "@scalar/api-reference/style.css";
import "./docs.css";

// Where the page came from is where requests go: the document names the public address, which may be another one, and
// there is no cookie for that.
async function load() {
  const response = await fetch("/v1/openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  return { ...(await response.json()), servers: [{ url: `${location.origin}/v1` }] };
}

try {
  createApiReference("#reference", {
    content: await load(),
    theme: "none",
    withDefaultFonts: false,
    hideDarkModeToggle: true,
    // The browser sends the cookie along by itself; a key is typed in, and is gone with the page.
    authentication: { preferredSecurityScheme: "bearer" },
    persistAuth: false,
    // Requests go from the page to this server, and nothing to anybody else.
    telemetry: false,
    agent: { disabled: true },
    mcp: { disabled: true },
    hideClientButton: true,
    showDeveloperTools: "never",
    documentDownloadType: "json",
    hiddenClients: [],
    defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  });
} catch (error) {
  const failure = document.getElementById("failure")!;
  failure.hidden = false;
  failure.textContent = `The description of the routes could not be loaded: ${(error as Error).message}`;
}

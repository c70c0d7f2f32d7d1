// The landing page reads well without this: it fills in the status and lets the commands be copied.
import { watchStatus } from "./status";

for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;
for (const commands of document.querySelectorAll("pre")) addCopyButton(commands);
watchStatus();

function addCopyButton(commands: HTMLPreElement) {
  // Browsers give pages over plain HTTP, other than from this machine, no clipboard.
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${commands.getAttribute("aria-label")}`);
  const said = document.createElement("span");
  said.className = "unseen";
  said.setAttribute("role", "status");
  const say = (label: string, announcement: string) => {
    button.textContent = label;
    said.textContent = announcement;
  };
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(commands.textContent ?? "");
      say("Copied", "Copied");
    } catch {
      say("Not copied", "The browser did not let the page copy");
    }
    setTimeout(() => say("Copy", ""), 2_000);
  });
  const example = document.createElement("div");
  example.className = "example";
  commands.replaceWith(example);
  example.append(commands, button, said);
}

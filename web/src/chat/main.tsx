// A reference client of the API, to read and to copy from. What keeps it from losing or doubling a message is in
// connection.ts (one socket), room/follow.ts (reading), room/timeline.ts (showing) and room/outbox.ts (sending).

import "../theme.css";
import "./ui/ui.css";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { Boundary } from "./ui/boundary";

createRoot(document.getElementById("root")!).render(
  <Boundary>
    <App />
  </Boundary>,
);

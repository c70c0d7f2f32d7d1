import "graphiql/setup-workers/vite";
// The parts of graphiql/style.css one by one: that file has 400 kB of fonts in it.
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "@graphiql/plugin-explorer/style.css";
import "graphiql/graphiql.css";
import "./graphql.css";
import { createRoot } from "react-dom/client";
import { Explorer } from "./Explorer";

createRoot(document.getElementById("root")!).render(<Explorer />);

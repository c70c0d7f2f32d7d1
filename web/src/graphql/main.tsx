import "graphiql/setup-workers/vite";
import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";
// The parts of graphiql/style.css one by one: that file has 400 kB of fonts in it.
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "@graphiql/plugin-explorer/style.css";
import "graphiql/graphiql.css";
import "./graphql.css";
import { FollowSystem } from "./FollowSystem";
import { fetcher } from "./fetcher";
import { storage } from "./storage";
import { tabs } from "./tabs";

const plugins = [HISTORY_PLUGIN, explorerPlugin()];

createRoot(document.getElementById("root")!).render(
  <GraphiQL
    fetcher={fetcher}
    storage={storage}
    plugins={plugins}
    defaultTabs={tabs}
    initialVariables={tabs[0]?.variables}
    defaultEditorToolsVisibility="variables"
    forcedTheme="system"
    showPersistHeadersSettings={false}
  >
    <GraphiQL.Logo>
      <FollowSystem />
    </GraphiQL.Logo>
  </GraphiQL>,
);

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { useMonaco } from "@graphiql/react";
import { GraphiQL } from "graphiql";
import { useEffect, useState } from "react";
import { fetcher } from "./fetcher";
import { FollowSystem } from "./FollowSystem";
import { storage } from "./storage";
import { tabs } from "./tabs";

const plugins = [HISTORY_PLUGIN, explorerPlugin()];

/** GraphiQL, as soon as its editor is there: who changed tabs before that would be shown the first one's text. */
export function Explorer() {
  const { monaco, actions } = useMonaco();
  const [failure, setFailure] = useState("");
  useEffect(() => {
    actions.initialize().catch((cause) => setFailure(`The editor could not be loaded: ${cause.message}`));
  }, [actions]);
  if (failure) return <p className="notice" role="alert">{failure}</p>;
  if (!monaco) return <p className="notice" role="status">Loading the editor…</p>;
  return (
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
    </GraphiQL>
  );
}

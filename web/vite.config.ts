import react from "@vitejs/plugin-react";
import { defineConfig, type ProxyOptions } from "vite";

// What is not a page goes on to a server: `BAMBISLEEP_URL=http://127.0.0.1:9000 npm run dev` says where it is.
const target = process.env.BAMBISLEEP_URL ?? "http://127.0.0.1:8080";
const proxy: Record<string, ProxyOptions> = {
  "/graphql": {
    target,
    ws: true,
    bypass: (request) =>
      request.method === "GET" && request.headers.accept?.includes("text/html") ? "/graphql.html" : undefined,
  },
  "/v1": { target },
  "/ws/chat": { target, ws: true },
  "/audio": { target },
  "/avatars": { target },
};

// One page a file; the server answers their paths.
export default defineConfig({
  plugins: [react()],
  appType: "mpa",
  server: { proxy },
  preview: { proxy },
  build: {
    outDir: "dist",
    target: "es2022",
    // The policy of the pages has no `data:` for scripts and fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "graphql.html", "docs.html", "chat.html"] },
  },
});

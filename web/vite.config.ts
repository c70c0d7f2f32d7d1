import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { compress } from "./compress.ts";

// One page a file; the server answers their paths. `npm run dev` sends what is not a page on to a server at port 8080.
export default defineConfig({
  plugins: [react(), compress()],
  appType: "mpa",
  build: {
    outDir: "dist",
    target: "es2022",
    // The policy of the pages has no `data:` for scripts and fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "graphql.html", "docs.html", "chat.html"] },
  },
});

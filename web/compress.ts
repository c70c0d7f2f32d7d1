import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import type { Plugin } from "vite";

const COMPRESSIBLE = new Set([".css", ".html", ".js", ".svg", ".ttf"]);

// Writes what browsers read as brotli and gzip too. The program carries these files compressed only.
export function compress(): Plugin {
  let folder = "";
  return {
    name: "compress",
    apply: "build",
    configResolved(config) {
      folder = join(config.root, config.build.outDir);
    },
    // The last thing of a build, when what is copied from `public` is there too.
    closeBundle() {
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        if (!COMPRESSIBLE.has(extname(name))) continue;
        const path = join(folder, name);
        const file = readFileSync(path);
        const params = { [constants.BROTLI_PARAM_SIZE_HINT]: file.length };
        for (const [suffix, compressed] of [
          [".br", brotliCompressSync(file, { params })],
          [".gz", gzipSync(file, { level: 9 })],
        ] as const) {
          writeFileSync(path + suffix, compressed);
        }
      }
    },
  };
}

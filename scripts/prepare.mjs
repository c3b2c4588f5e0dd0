// Builds after `npm ci`; without the dev dependencies (`npm ci --omit=dev`) it only checks that a build is there.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

if (existsSync("node_modules/typescript/package.json")) {
  const build = spawnSync("npm", ["run", "--silent", "build"], {
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  process.exit(build.status ?? 1);
}
if (!existsSync("dist/cli/ringctl.js")) {
  console.error(
    "taskring: dist/ is missing and TypeScript is not installed; run `npm ci && npm run build` once, then `npm ci --omit=dev`",
  );
}

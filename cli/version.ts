/** The version in package.json, found from the sources and from `dist`. */

import { readFileSync } from "node:fs";

export function packageVersion(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8")) as {
        name?: string;
        version?: string;
      };
      if (name === "taskring" && version !== undefined) return version;
    } catch {
      // The other one then.
    }
  }
  return "unknown";
}

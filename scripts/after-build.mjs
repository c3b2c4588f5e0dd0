// Copies what tsc does not: the .proto files and the bin, and makes it executable.
import { chmodSync, cpSync, existsSync } from "node:fs";

cpSync("proto", "dist/proto", { recursive: true, filter: (path) => !path.endsWith(".ts") });
if (existsSync("dist/cli/ringctl.js")) {
  cpSync("cli/ringctl.sh", "dist/cli/ringctl");
  for (const path of ["dist/cli/ringctl", "dist/cli/ringctl.js"]) chmodSync(path, 0o755);
}

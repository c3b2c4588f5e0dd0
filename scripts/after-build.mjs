// Copies what tsc does not: the .proto files, and makes the bin executable.
import { chmodSync, cpSync, existsSync } from "node:fs";

cpSync("proto", "dist/proto", { recursive: true, filter: (path) => !path.endsWith(".ts") });
if (existsSync("dist/cli/ringctl.js")) chmodSync("dist/cli/ringctl.js", 0o755);

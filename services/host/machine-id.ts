/** Which machine this is: members with one machine id may adopt each other's directories. */

import { readFileSync } from "node:fs";
import { hostname } from "node:os";

export function machineId(): string {
  for (const path of ["/etc/machine-id", "/var/lib/dbus/machine-id"]) {
    try {
      const id = readFileSync(path, "utf8").trim();
      if (id !== "") return id;
    } catch {
      // Not this kind of system.
    }
  }
  return hostname();
}

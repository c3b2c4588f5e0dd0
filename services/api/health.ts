/**
 * The standard health service, by the official package, for the names that it is given and no others.
 *
 * H1  A name that nobody serves is told so and forgotten: the package would keep each one that was ever watched, of up to a
 *     message's size, for ever; and an answer that repeats a long one never leaves.
 */

import type { handleServerStreamingCall, handleUnaryCall, Server, UntypedServiceImplementation } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";

export function addHealth(server: Server, names: readonly string[]): HealthImplementation {
  const known = new Set(names);
  const health = new HealthImplementation(Object.fromEntries(names.map((name) => [name, "SERVING"])));
  const collector = {
    addService(definition: Parameters<Server["addService"]>[0], implementation: UntypedServiceImplementation): void {
      const check = implementation.check as handleUnaryCall<Asked, object>;
      const watch = implementation.watch as handleServerStreamingCall<Asked, object>;
      const bounded: UntypedServiceImplementation = {
        ...implementation,
        check: (call: Parameters<typeof check>[0], callback: Parameters<typeof check>[1]) => {
          if (!known.has(call.request.service)) call.request.service = call.request.service.slice(0, SHOWN_CHARACTERS);
          check(call, callback);
        },
        watch: (call: Parameters<typeof watch>[0]) => {
          if (known.has(call.request.service)) watch(call);
          else call.write({ status: "SERVICE_UNKNOWN" }); // H1
        },
      };
      server.addService(definition, bounded);
    },
  };
  health.addToServer(collector as unknown as Server);
  return health;
}

interface Asked {
  service: string;
}

/** More than any name that is served. */
const SHOWN_CHARACTERS = 80;

/**
 * Finds the packaged `.proto` files and loads them at run time. They lie beside this file, in the sources and in `dist`.
 */

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { loadSync, type PackageDefinition, type ServiceDefinition } from "@grpc/proto-loader";

/** All public services. */
export function loadPublic(): PackageDefinition {
  publicDefinition ??= loadSync(
    ["taskring/v1/tasks.proto", "taskring/v1/apps.proto", "taskring/v1/cluster.proto", "taskring/v1/pipes.proto"],
    OPTIONS,
  );
  return publicDefinition;
}

/** One service by its full name, such as `taskring.v1.Tasks`. */
export function serviceDefinition(fullName: string): ServiceDefinition {
  const found = loadPublic()[fullName];
  if (found === undefined || "format" in found) throw new Error(`no service ${fullName} in the .proto files`);
  return found as ServiceDefinition;
}

/** Folder to give to other tools as an import path. */
export const PROTO_FOLDER: string = dirname(fileURLToPath(import.meta.url));

/** Path of `Peer.Link`, whose frames are coded by hand (`ring/io/peer/`). */
export const LINK_PATH = "/taskring.internal.v1.Peer/Link";
export const STREAM_PATH = "/taskring.v1.Tasks/SubmitStream";

const OPTIONS = { longs: Number, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO_FOLDER] };
let publicDefinition: PackageDefinition | undefined;

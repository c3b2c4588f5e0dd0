/**
 * Finds the packaged `.proto` files and loads them at run time. They lie beside this file, in the sources and in `dist`.
 *
 * A node and a client need codecs of a few services at once, so those come straight from protobufjs. Descriptors, which
 * only reflection serves, take three times as long to make; they are left to @grpc/proto-loader, and to its first caller.
 */

import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import protobuf from "protobufjs";

/** One service by its full name, such as `taskring.v1.Tasks`. */
export function serviceDefinition(fullName: string): ServiceDefinition {
  let definition = services.get(fullName);
  if (definition === undefined) {
    definition = define(fullName);
    services.set(fullName, definition);
  }
  return definition;
}

/** All public services with their descriptors. */
export async function loadPublic(): Promise<PackageDefinition> {
  const { loadSync } = await import("@grpc/proto-loader");
  return loadSync([...PUBLIC], { ...OPTIONS, includeDirs: [PROTO_FOLDER] });
}

function define(fullName: string): ServiceDefinition {
  root ??= loadRoot();
  const service = root.lookupService(fullName);
  const definition: Record<string, MethodDefinition<object, object>> = {};
  for (const method of service.methodsArray) {
    method.resolve();
    const request = codecOf(method.resolvedRequestType!);
    const response = codecOf(method.resolvedResponseType!);
    definition[method.name] = {
      path: `/${fullName}/${method.name}`,
      requestStream: method.requestStream === true,
      responseStream: method.responseStream === true,
      requestSerialize: request.serialize,
      requestDeserialize: request.deserialize,
      responseSerialize: response.serialize,
      responseDeserialize: response.deserialize,
    };
  }
  return definition;
}

function loadRoot(): protobuf.Root {
  const loaded = new protobuf.Root();
  loaded.resolvePath = (_origin, target) => (isAbsolute(target) ? target : join(PROTO_FOLDER, target));
  return loaded.loadSync([...PUBLIC]);
}

function codecOf(type: protobuf.Type): {
  serialize(message: object): Buffer;
  deserialize(bytes: Buffer): object;
} {
  return {
    serialize: (message) => type.encode(type.fromObject(message)).finish() as Buffer,
    deserialize: (bytes) => type.toObject(type.decode(bytes), OPTIONS),
  };
}

/** Folder to give to other tools as an import path. */
export const PROTO_FOLDER: string = dirname(fileURLToPath(import.meta.url));

/** Path of `Peer.Link`, whose frames are coded by hand (`ring/io/peer/`). */
export const LINK_PATH = "/taskring.internal.v1.Peer/Link";
export const STREAM_PATH = "/taskring.v1.Tasks/SubmitStream";

const PUBLIC = [
  "taskring/v1/tasks.proto",
  "taskring/v1/apps.proto",
  "taskring/v1/cluster.proto",
  "taskring/v1/pipes.proto",
] as const;
const OPTIONS = { longs: Number, enums: String, defaults: true };
const services = new Map<string, ServiceDefinition>();
let root: protobuf.Root | undefined;

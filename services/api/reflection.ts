/**
 * Server reflection, v1 and v1alpha, by the official package, which is loaded at the first question: decoding every
 * descriptor takes longer than all else a node does to start, and most nodes are never asked.
 */

import { Duplex } from "node:stream";
import {
  type MethodDefinition,
  type Server,
  type ServerDuplexStream,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadPublic } from "../../proto/load.ts";

type Method = MethodDefinition<object, object>;
type Call = ServerDuplexStream<Buffer, Buffer>;

interface Loaded {
  readonly method: Method;
  readonly handle: (stream: Duplex) => void;
}

export function addReflection(server: Server): void {
  let loading: Promise<ReadonlyMap<string, Loaded>> | undefined;
  for (const version of ["v1", "v1alpha"]) {
    const path = `/grpc.reflection.${version}.ServerReflection/${METHOD}`;
    server.addService(
      { [METHOD]: { path, requestStream: true, responseStream: true, ...AS_BYTES } },
      {
        [METHOD]: (call: Call) => {
          loading ??= load();
          loading.then(
            (methods) => serve(call, methods.get(path)!),
            (error: unknown) => call.emit("error", { code: status.INTERNAL, details: String(error) }),
          );
        },
      },
    );
  }
}

/** What the package would add to a server, by path. */
async function load(): Promise<ReadonlyMap<string, Loaded>> {
  const { ReflectionService } = await import("@grpc/reflection");
  const methods = new Map<string, Loaded>();
  const collector = {
    addService(definition: Record<string, Method>, implementation: UntypedServiceImplementation): void {
      const method = definition[METHOD]!;
      methods.set(method.path, { method, handle: implementation[METHOD] as unknown as Loaded["handle"] });
    },
  };
  new ReflectionService(await loadPublic()).addToServer(collector as unknown as Server);
  return methods;
}

/**
 * The package's handler reads and writes messages, the call bytes. It answers as fast as it is asked, whoever takes the answers:
 * so nothing is read while some wait to be taken.
 */
function serve(call: Call, { method, handle }: Loaded): void {
  const stream: Duplex = new Duplex({
    objectMode: true,
    read: () => {
      if (!stream.writableNeedDrain) call.resume();
    },
    write: (reply: object, _encoding, done) => void call.write(method.responseSerialize(reply), () => done()),
    final: (done) => {
      call.end();
      done();
    },
  });
  call.on("data", (bytes: Buffer) => {
    try {
      if (!stream.push(method.requestDeserialize(bytes)) || stream.writableNeedDrain) call.pause();
    } catch (error) {
      call.emit("error", { code: status.INVALID_ARGUMENT, details: String(error) });
    }
  });
  call.on("end", () => stream.push(null));
  call.on("cancelled", () => stream.destroy());
  stream.on("drain", () => call.resume());
  stream.on("error", () => call.end());
  handle(stream);
}

const METHOD = "ServerReflectionInfo";
const AS_BYTES = {
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};

function asIs(bytes: Buffer): Buffer {
  return bytes;
}

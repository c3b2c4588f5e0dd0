/**
 * The key file: serf's format, a JSON list of keys in base64, the first one seals. Changes while the node runs are written
 * back, so that a restart knows them.
 */

import { readFile } from "node:fs/promises";
import { RingError } from "../errors.ts";
import { replaceFile } from "./files.ts";
import { Keyring, type KeyView, parseKey } from "./gossip-crypto.ts";

export type KeyChange =
  | { readonly type: "list" }
  /** In base64. */
  | { readonly type: "install"; readonly key: string }
  | { readonly type: "use"; readonly fingerprint: string }
  | { readonly type: "remove"; readonly fingerprint: string };

export class KeyFile {
  readonly keyring: Keyring;
  readonly #path: string | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** No path: no keys, gossip in clear. Throws `INVALID_ARGUMENT`. */
  static async open(path: string | undefined): Promise<KeyFile> {
    if (path === undefined) return new KeyFile(new Keyring([]), path);
    try {
      const keys: unknown = JSON.parse(await readFile(path, "utf8"));
      if (!Array.isArray(keys) || keys.length === 0 || !keys.every((key) => typeof key === "string"))
        throw new Error("it is no list of keys");
      return new KeyFile(new Keyring(keys.map(parseKey)), path);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "unknown error";
      throw new RingError("INVALID_ARGUMENT", `the gossip keys in ${path} cannot be used: ${why}`, { cause });
    }
  }

  constructor(keyring: Keyring, path: string | undefined) {
    this.keyring = keyring;
    this.#path = path;
  }

  /** Resolves with the keys after the change, once it is on disk. */
  async change(change: KeyChange): Promise<readonly KeyView[]> {
    if (change.type === "install") this.keyring.install(parseKey(change.key));
    else if (change.type === "use") this.keyring.use(change.fingerprint);
    else if (change.type === "remove") this.keyring.remove(change.fingerprint);
    if (change.type !== "list") await this.#write();
    return this.keyring.list();
  }

  #write(): Promise<void> {
    const path = this.#path;
    if (path === undefined) return Promise.resolve();
    const write = (): Promise<void> => {
      const keys = this.keyring.keys.map((key) => Buffer.from(key).toString("base64"));
      return replaceFile(path, { content: async () => Buffer.from(`${JSON.stringify(keys)}\n`) });
    };
    this.#writing = this.#writing.then(write, write);
    return this.#writing;
  }
}

/** Messages of `Apps.HotKeys` as they cross the wire (`proto/taskring/v1/apps.proto`). */

export interface HotKeysRequest {
  /** Empty: of all apps. */
  readonly app: string;
  readonly forMs: number;
  readonly limit: number;
}

export interface HotKeysReply {
  readonly node: string;
  readonly forMs: number;
  readonly attempts: number;
  /** `limit` with the most attempts and `limit` that ran longest; most attempts first. */
  readonly keys: readonly HotKey[];
}

export interface HotKey {
  readonly app: string;
  readonly key: string;
  readonly attempts: number;
  readonly busyMs: number;
}

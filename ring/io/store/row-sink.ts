/** Where a job writes its rows: an overlay, or what stands for one. */

import type { Changes } from "../../changes.ts";
import type { Space } from "./rows.ts";

export interface RowSink {
  /** `isNew`: no row has had this key. It spares the database a delete that finds nothing. */
  put(space: Space, key: Uint8Array, value: Uint8Array, isNew?: boolean): void;
  /** Keeps `stored` as it is, with the checksum it came with. */
  putStored(space: Space, key: Uint8Array, stored: Uint8Array): void;
  remove(space: Space, key: Uint8Array): void;
  change(space: Space, changes: Changes): void;
}

/** Messages about the state of a key; see `messages.ts`. */

import type { KeyRequest } from "./messages.ts";

export interface ReadAsideRequest extends KeyRequest {
  readonly drop?: boolean;
}

export interface ReadAsideReply {
  readonly values: readonly AsideValue[];
}

export interface AsideValue {
  readonly name: string;
  readonly origin: string;
  readonly value: Uint8Array;
}

/** Where a store that all nodes share keeps the seat of a ring's only voter (`ring/node/sole-seat.ts`). */

import type { SeatClaim, SeatResult, SeatWrite } from "../node/effects.ts";

export interface SeatStore {
  claim(claim: SeatClaim): Promise<SeatResult>;
  /** Resolves when it is written, with false when somebody else has the seat. Waits while the store is away. */
  write(seat: SeatWrite): Promise<boolean>;
  leave(token: string): Promise<void>;
}

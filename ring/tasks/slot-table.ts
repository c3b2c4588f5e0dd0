/** Open addressing over columns: where the slot of a hash lies. The columns, hashes among them, are the caller's. */
export class SlotTable {
  /** Slot + 1, 0 for none; a power of two of them. */
  places: Int32Array = new Int32Array(0);

  /** Empty, with room for so many slots, a power of two, at half or less of the places. */
  reset(places: number): void {
    this.places = new Int32Array(places);
  }

  enter(slot: number, hashes: Int32Array): void {
    const { places } = this;
    const mask = places.length - 1;
    let at = (hashes[slot] as number) & mask;
    while (places[at] !== 0) at = (at + 1) & mask;
    places[at] = slot + 1;
  }

  leave(slot: number, hashes: Int32Array): void {
    const { places } = this;
    const mask = places.length - 1;
    let at = (hashes[slot] as number) & mask;
    while (places[at] !== slot + 1) at = (at + 1) & mask;
    // Those behind the gap move up, so that no search stops short of them.
    for (let next = (at + 1) & mask; places[next] !== 0; next = (next + 1) & mask) {
      const home = (hashes[(places[next] as number) - 1] as number) & mask;
      if (((next - home) & mask) < ((next - at) & mask)) continue;
      places[at] = places[next] as number;
      at = next;
    }
    places[at] = 0;
  }
}

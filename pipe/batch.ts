/** What `batch([...])` makes: many outputs of one yield. */

export class Batch<T> {
  readonly items: readonly T[];

  constructor(items: readonly T[]) {
    this.items = [...items]; // To read them may run anybody's code, which is to happen where they are given.
  }
}

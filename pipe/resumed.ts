/** An input that was begun before and goes on at a cursor. */
export class Resumed {
  readonly value: unknown;
  readonly cursor: unknown;

  constructor(value: unknown, cursor: unknown) {
    this.value = value;
    this.cursor = cursor;
  }
}

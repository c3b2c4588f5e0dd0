/** Where a store says what an operator should know. As pino's. */
export interface StoreLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

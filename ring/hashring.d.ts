/** The part of npm `hashring` that this project calls; the package ships no types. */
declare module "hashring" {
  interface Options {
    /** How many answers of `get` it remembers. */
    readonly "max cache size"?: number;
  }
  class HashRing {
    constructor(servers: Readonly<Record<string, { readonly vnodes: number }>>, algorithm?: string, options?: Options);
    get(key: string): string | undefined;
    range(key: string, size?: number, unique?: boolean): string[];
    hashValue(key: string): number;
    points(servers?: readonly string[]): Readonly<Record<string, readonly number[]>>;
  }
  export = HashRing;
}

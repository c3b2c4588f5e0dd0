/** A lane is one (app, key): its name in maps of a whole partition. */

/** One name for an (app, key); for sets that are not on the hot path. */
export function laneName(app: string, key: string): string {
  return `${app}\0${key}`;
}

/** Keys may hold any character, names of apps may not. */
export function readLaneName(name: string): { readonly app: string; readonly key: string } {
  const appEnd = name.indexOf("\0");
  return { app: name.slice(0, appEnd), key: name.slice(appEnd + 1) };
}

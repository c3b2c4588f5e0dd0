/**
 * Gives every platform's optional package an entry in package-lock.json: run it after changing a dependency.
 *
 * A mirror that lacks the packages of other platforms makes npm leave them out of the lock file, and then `npm ci` refuses
 * that file everywhere. With an entry that says for which platform a package is, npm skips it elsewhere unseen.
 */

import { readFileSync, writeFileSync } from "node:fs";

const SYSTEMS = ["android", "darwin", "freebsd", "linux", "openharmony", "openbsd", "netbsd", "sunos", "aix", "win32"];
const PROCESSORS = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const missing = [];
for (const owner of Object.values(lock.packages)) {
  for (const [name, range] of Object.entries(owner.optionalDependencies ?? {})) {
    if (Object.keys(lock.packages).some((path) => path.endsWith(`node_modules/${name}`))) continue;
    const words = name.split(/[/-]/);
    const os = SYSTEMS.find((system) => words.includes(system));
    const cpu = PROCESSORS.find((processor) => words.includes(processor));
    if (os === undefined || cpu === undefined || !/^\d/.test(range))
      throw new Error(`what platform is ${name}@${range} for?`);
    const libc = os !== "linux" ? [] : [/musl/.test(name) ? "musl" : "glibc"];
    missing.push(name);
    lock.packages[`node_modules/${name}`] = {
      version: range,
      cpu: [cpu],
      ...(owner.dev === true ? { dev: true } : {}),
      ...(libc.length === 0 ? {} : { libc }),
      ...(owner.license === undefined ? {} : { license: owner.license }),
      optional: true,
      os: [os],
      ...(owner.engines === undefined ? {} : { engines: owner.engines }),
    };
  }
}
const { "": root, ...rest } = lock.packages;
const sorted = Object.entries(rest).sort(([left], [right]) => left.localeCompare(right, "en"));
lock.packages = { "": root, ...Object.fromEntries(sorted) };
writeFileSync("package-lock.json", `${JSON.stringify(lock, undefined, 2)}\n`);
console.log(missing.length === 0 ? "the lock file is complete" : `added ${missing.length}: ${missing.join(", ")}`);

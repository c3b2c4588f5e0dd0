/** `ringctl completion bash|zsh|fish`: a script that completes command names and options, made from the command tree. */

import type { Command } from "commander";
import { usage } from "./exit-codes.ts";

export function completionScript(shell: string, program: Command): string {
  const words = wordsOf(program);
  switch (shell) {
    case "bash":
      return bash(words);
    case "zsh":
      return `autoload -U +X bashcompinit && bashcompinit\n${bash(words)}`;
    case "fish":
      return [...words]
        .map(([path, list]) => `complete -c ringctl -f -n ${quoted(fishCondition(path))} -a ${quoted(list.join(" "))}`)
        .join("\n");
    default:
      throw usage(`completion ${shell}: expected bash, zsh or fish`);
  }
}

/** What may follow, by the commands so far, such as `app` or `transfers limit`. */
function wordsOf(program: Command): ReadonlyMap<string, readonly string[]> {
  const words = new Map<string, readonly string[]>();
  const shared = program.options.map((option) => option.long ?? "");
  const visit = (command: Command, path: string): void => {
    const options = command.options.filter((option) => !option.hidden).map((option) => option.long ?? "");
    words.set(
      path,
      [...command.commands.map((child) => child.name()), ...options, ...(command === program ? [] : shared)].filter(
        (word) => word !== "",
      ),
    );
    for (const child of command.commands) visit(child, path === "" ? child.name() : `${path} ${child.name()}`);
  };
  visit(program, "");
  return words;
}

function bash(words: ReadonlyMap<string, readonly string[]>): string {
  const cases = [...words].map(([path, list]) => `    ${quoted(path)}) words=${quoted(list.join(" "))} ;;`);
  const known = [...words.keys()].filter((path) => path !== "").map(quoted);
  return `_ringctl() {
  local words="" path="" next word
  local -a known=(${known.join(" ")})
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    next="\${path:+$path }$word"
    for candidate in "\${known[@]}"; do [ "$candidate" = "$next" ] && path="$next"; done
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _ringctl ringctl taskring`;
}

function fishCondition(path: string): string {
  if (path === "") return "__fish_use_subcommand";
  return path
    .split(" ")
    .map((word) => `__fish_seen_subcommand_from ${word}`)
    .join("; and ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

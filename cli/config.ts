/** `ringctl config [explain]`: each setting's value and where it comes from. */

import type { CommandRun } from "./ask-node.ts";
import { SETTINGS, type Settings, variableOf } from "./settings.ts";
import { tableLines } from "./table.ts";

export const config =
  ({ explain }: { readonly explain: boolean }): ((run: CommandRun) => Promise<undefined>) =>
  async ({ settings, output }) => {
    const items = SETTINGS.map((setting) => itemOf(setting, settings));
    output.show({
      kind: "Setting",
      items,
      lines: (paint) =>
        tableLines<(typeof items)[number]>(
          [
            { title: "SETTING", text: (row) => row.name, tint: () => "strong" },
            { title: "VALUE", text: (row) => row.values.join(", ") || "-" },
            { title: "FROM", text: (row) => row.where, tint: (row) => (row.source === "default" ? "dim" : "accent") },
            ...(explain
              ? [
                  { title: "VARIABLE", text: (row: (typeof items)[number]) => row.variable },
                  { title: "MEANING", text: (row: (typeof items)[number]) => row.about },
                ]
              : []),
          ],
          items,
          paint,
        ),
    });
    if (explain)
      output.remark(
        "flag > TASKRING_* > taskring.json > default; in taskring.json the names are those of the first column",
      );
    return undefined;
  };

function itemOf(setting: (typeof SETTINGS)[number], settings: Settings) {
  const value = settings.find(setting.name);
  return {
    name: setting.name,
    values: value?.values ?? [],
    source: value?.source ?? "default",
    where: value?.where ?? "default",
    flag: setting.flag,
    variable: variableOf(setting.name),
    about: setting.about,
  };
}

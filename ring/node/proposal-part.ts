/** What a proposal is made of: after a refusal one part at a time, so that no part holds up the others. */

export type Part = "all" | "consents" | "automatic" | "wishes";

export const AFTER: Readonly<Record<Part, Part>> = {
  all: "consents",
  consents: "automatic",
  automatic: "wishes",
  wishes: "all",
};

// What a model says that its scores rest on, and what is known of the model.

import { bar, byId, element, percent, refill } from "./parts.js";

const nameOfHops = (hop) => ["single clicks", "1 step"][hop] ?? `${hop} steps`;
const NAMES = { "mrr@20": "MRR@20", "hit@20": "P@20" };
const MEANINGS = {
  "mrr@20": "how high the item clicked next stands: the mean of 1 / its rank, 0 beyond rank 20",
  "hit@20": "how often the item clicked next is among the first 20",
};

export function showReasons({ hops, repeat }, chosen, choose) {
  byId("hops").hidden = !hops;
  const where = chosen === null ? "" : ` in the receptive field \u201c${nameOfHops(chosen)}\u201d`;
  byId("attention-note").textContent =
    `Bars in the session: each click's share of the attention${where}, that is, how much it counts for the list.`;
  const choices = hops ? [null, ...hops.keys()] : [];
  const rows = choices.map((hop) => {
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "hop", checked: hop === chosen });
    radio.addEventListener("change", () => choose(hop));
    const shown = hop === null ? [] : [bar(hops[hop]), element("span", "figure", percent(hops[hop]))];
    const name = element("span", "", hop === null ? "all together" : nameOfHops(hop));
    return element("label", "hop", "", [radio, name, ...shown]);
  });
  refill(byId("hop-choices"), rows);
  byId("gate").hidden = repeat === null;
  if (repeat === null) return;
  byId("repeat-part").style.width = `${100 * repeat}%`;
  byId("repeat").textContent = `repeats an item: ${percent(repeat)}`;
  byId("explore").textContent = `explores: ${percent(1 - repeat)}`;
}

function metric(card, name) {
  const value = card.metrics?.[name];
  if (value === undefined) return [];
  const ends = card.intervals?.[name];
  const shown = (share) => (100 * share).toFixed(2);
  const interval = ends ? ` (95 % interval ${shown(ends[0])} to ${shown(ends[1])})` : "";
  return [[NAMES[name], `${shown(value)} %${interval}: ${MEANINGS[name]}`]];
}

export function modelCard(card) {
  const count = (number) => number.toLocaleString("en");
  const trained = card.train_instances === null ? "" : `, ${count(card.train_instances)} training instances`;
  const rows = [
    ["Model", `${card.model}${card.name === card.model ? "" : `, called ${card.name}`}, seed ${card.seed}`],
    ["Data", `${card.dataset}: ${count(card.items)} items${trained}`],
    ...(card.trained ? [["Date", card.trained]] : []),
    ...Object.keys(NAMES).flatMap((name) => metric(card, name)),
    ...(card.intervals ? [["Measured on", `${count(card.test_sessions)} test sessions; intervals hold for this trained run`]] : []),
    ...(card.refitted ? [["Since then", "trained on all sessions; the results are those of the run that chose its epochs"]] : []),
    ...(card.metrics ? [] : [["Results", "none came with the model"]]),
    ["Made with", `recbole_tme ${card.version}`],
  ];
  return element("dl", "", "", rows.flatMap(([name, text]) => [element("dt", "", name), element("dd", "", text)]));
}

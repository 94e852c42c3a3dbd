// A person clicks items into a session and sees what the model makes of it.

import { ask, latest } from "./asking.js";
import { showCode } from "./code.js";
import { bar, button, byId, element, nameOf, options, percent, refill } from "./parts.js";
import { modelCard, showReasons } from "./reasons.js";

const LENGTHS = [5, 10, 12, 20, 50, 100];
const FIRST_LENGTH = 12;
const PAGE = 30;
const TYPING_PAUSE = 150;

const state = { session: [], truth: null, answer: null, other: null, hop: null, offset: 0, cards: [] };
const shownK = () => Number(byId("k").value);

// Shares of the chance, or of the weight, that the model gives to the items of the list together.
function shares(items, kind) {
  const scores = items.map(({ score }) => score);
  const highest = Math.max(...scores.filter((score) => score !== null));
  const parts = scores.map((score) => (score === null ? 0 : kind === "logits" ? Math.exp(score - highest) : Math.max(0, score)));
  const total = parts.reduce((sum, part) => sum + part, 0);
  return parts.map((part) => (total > 0 ? part / total : 0));
}

// An item in a list; pressing it appends it to the session.
function choice(entry, figure, share) {
  const isNext = state.truth !== null && entry.item === state.truth.next.item;
  const made = button(`item${isNext ? " true" : ""}`, "", () => add(entry));
  made.append(element("span", "name", nameOf(entry)));
  made.append(element("span", "figure", figure));
  if (share !== undefined) made.append(bar(share));
  made.title = `item ${entry.item}: add to the session`;
  return element("li", "", "", [made]);
}

const search = latest(
  (offset) => {
    const words = new URLSearchParams({ q: byId("words").value, offset, limit: PAGE });
    return ask(`items?${words}`);
  },
  (found, offset) => {
    const entries = found.items.map((entry) => choice(entry, `${entry.clicks.toLocaleString("en")} clicks`));
    if (offset === 0) byId("items").replaceChildren();
    byId("items").append(...entries);
    state.offset = offset + entries.length;
    byId("more").hidden = !found.more;
    byId("nothing").hidden = state.offset > 0;
  },
);

const takeFirst = latest(
  () => ask(`items?${new URLSearchParams({ q: byId("words").value, limit: 1 })}`),
  ({ items }) => {
    if (!items.length) return;
    add(items[0]);
    byId("words").select();
  },
);

function question(card) {
  const body = { session: state.session.map((entry) => entry.item), k: Math.min(shownK(), card.limits.k) };
  if (byId("exclude").checked) body.exclude_seen = true;
  if (card !== state.cards[0]) body.model = card.name;
  return body;
}

const besideCard = () => state.cards.find((card) => card.name === byId("beside").value) ?? null;

const recommend = latest(
  () => {
    const beside = besideCard();
    const main = ask("recommend", { ...question(state.cards[0]), explain: true });
    return Promise.all([main, beside ? ask("recommend", question(beside)) : null]);
  },
  ([answer, other]) => {
    Object.assign(state, { answer, other });
    showRecommended();
    showSession();
  },
  () => {
    state.answer = null;
    showSession();
  },
);

function showList(list, answer, card) {
  const byModel = answer.source === "model";
  const parts = shares(answer.items, byModel ? card.scores : "weights");
  const highest = Math.max(...parts, 0);
  const figure = ({ score }, i) => {
    if (!byModel) return `${score.toLocaleString("en")} clicks`;
    const shown = score?.toFixed(2).replace("-", "\u2212") ?? "";
    return byId("scores").checked ? `${percent(parts[i])} · ${shown}` : percent(parts[i]);
  };
  refill(list, answer.items.map((entry, i) => choice(entry, figure(entry, i), highest > 0 ? parts[i] / highest : 0)));
}

function showRecommended() {
  const { answer, other } = state;
  const beside = besideCard();
  byId("best-title").textContent = state.cards[0].name;
  byId("other-title").textContent = beside?.name ?? "";
  byId("best-title").hidden = byId("other-part").hidden = other === null;
  byId("lists").classList.toggle("two", other !== null);
  showList(byId("best"), answer, state.cards[0]);
  if (other) showList(byId("other"), other, beside);
  const kind = state.cards[0].scores === "logits" ? "chance" : "weight";
  byId("status").textContent = answer.source === "model"
    ? `After ${nameOf(state.session.at(-1))}, best first. Share: of the ${kind} that the model gives these ${answer.items.length} together.`
    : "The session is empty: these had most clicks in training.";
}

function add(entry) {
  if (state.session.length >= state.cards[0].limits.clicks) return;
  state.session.push({ item: entry.item, title: entry.title });
  changed();
}

function remove(place) {
  state.session.splice(place, 1);
  // What is known of the clicks does not fit the others.
  state.answer = null;
  changed();
}

function changed({ truth = null } = {}) {
  state.truth = truth;
  writeAddress();
  showSession();
  recommend();
}

function showSession() {
  const explanation = state.answer?.explanation;
  if (explanation && !(state.hop < (explanation.hops?.length ?? 0))) state.hop = null;
  const weights = state.hop === null ? explanation?.attention : explanation?.hop_attention[state.hop];
  const clicks = state.session.map((entry, place) => {
    const share = weights?.[place];
    const figure = share === undefined ? "" : share === null ? "too old to count" : percent(share);
    const texts = [element("span", "name", nameOf(entry)), element("span", "figure", figure)];
    const cross = button("plain remove", "×", () => remove(place), `Remove ${nameOf(entry)} from the session`);
    const made = element("li", "click", "", [element("span", "label", "", texts), cross]);
    // The latest click has a bar before its share is known, so that nothing jumps.
    if (weights) made.append(bar(share ?? 0));
    return made;
  });
  refill(byId("clicks"), clicks);
  byId("clicks").scrollLeft = byId("clicks").scrollWidth;
  byId("empty").hidden = state.session.length > 0;
  byId("clear").hidden = state.session.length === 0;
  byId("truth").hidden = state.truth === null;
  if (state.truth) byId("truth").textContent = `Clicked next: ${nameOf(state.truth.next)}. ${state.cards[0].model} ranks it ${rankOf(state.truth)}.`;
  byId("reasons").hidden = !explanation;
  if (explanation) showReasons(explanation, state.hop, choose);
  showCode(question(state.cards[0]));
}

function choose(hop) {
  state.hop = hop;
  showSession();
}

const rankOf = ({ rank }) => rank.toLocaleString("en", { maximumFractionDigits: 1 });

function showExamples({ examples }) {
  byId("examples").hidden = examples.length === 0;
  const ordered = [...examples].sort((a, b) => a.rank - b.rank);
  byId("example-list").replaceChildren(
    ...ordered.map((example) => {
      const press = button("item", "", () => {
        state.session = [...example.session];
        state.answer = null;
        changed({ truth: example });
        byId("session").scrollIntoView({ block: "nearest" });
      });
      const before = example.session.length > 1 ? "… " : "";
      const name = `${before}${nameOf(example.session.at(-1))} → ${nameOf(example.next)}`;
      press.append(element("span", "name", name), element("span", "figure", `rank ${rankOf(example)}`));
      return element("li", "", "", [press]);
    }),
  );
}

// The session and what is chosen are in the address, after #, which no server is told.
function writeAddress() {
  const words = new URLSearchParams(state.session.map((entry) => ["s", entry.item]));
  if (shownK() !== FIRST_LENGTH) words.set("k", shownK());
  if (byId("exclude").checked) words.set("new", 1);
  if (byId("beside").value) words.set("beside", byId("beside").value);
  history.replaceState(null, "", `${location.pathname}${words.size ? `#${words}` : ""}`);
}

async function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const lengths = [...byId("k").options].map((option) => option.value);
  byId("k").value = lengths.includes(words.get("k")) ? words.get("k") : String(Math.min(FIRST_LENGTH, Number(lengths.at(-1))));
  byId("exclude").checked = words.get("new") === "1";
  const names = state.cards.map((card) => card.name);
  byId("beside").value = names.slice(1).includes(words.get("beside")) ? words.get("beside") : "";
  const ids = words.getAll("s").slice(0, state.cards[0].limits.clicks);
  state.session = await Promise.all(ids.map(async (item) => {
    const { items } = await ask(`items?${new URLSearchParams({ q: item, limit: 1 })}`);
    return { item, title: items[0]?.item === item ? items[0].title : null };
  }));
  state.answer = null;
  changed();
}

let typing;
byId("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search(0), TYPING_PAUSE);
});
byId("words").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && byId("words").value.trim()) takeFirst();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]):not([type=radio]), select, textarea")) return;
  event.preventDefault();
  byId("words").focus();
});
byId("more").addEventListener("click", () => search(state.offset));
for (const id of ["exclude", "k", "beside"]) byId(id).addEventListener("change", () => changed({ truth: state.truth }));
byId("scores").addEventListener("change", () => state.answer && showRecommended());
byId("clear").addEventListener("click", () => {
  state.session = [];
  state.answer = null;
  changed();
  byId("words").focus();
});

latest(
  () => ask("models"),
  async ({ models }) => {
    state.cards = models;
    const [card, ...others] = models;
    const most = card.limits.k;
    options(byId("k"), [...LENGTHS.filter((k) => k < most), ...(most <= LENGTHS.at(-1) ? [most] : [])].map((k) => [k, k]), FIRST_LENGTH);
    options(byId("beside"), [["", "no other model"], ...others.map((one) => [one.name, one.name])], "");
    byId("beside-choice").hidden = others.length === 0;
    byId("about").textContent = `${card.model} · ${card.dataset} · ${card.items.toLocaleString("en")} items`;
    byId("cards").replaceChildren(...models.map(modelCard));
    search(0);
    latest(() => ask("examples"), showExamples)();
    await readAddress();
    window.addEventListener("hashchange", readAddress);
  },
)();
